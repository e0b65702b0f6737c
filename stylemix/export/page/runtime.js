// ONNX Runtime, and the networks in it. Everything comes from scripts beside this page, so that the
// page needs no connection and also works when it is opened as a file.
"use strict";

const stylemix = globalThis.stylemix;

stylemix.bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

stylemix.loadScript = (name) => new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = name;
  script.onload = resolve;
  script.onerror = () => reject(new Error(`${name} is missing; make the page again`));
  document.head.append(script);
});

// Starts the runtime on WebGPU if there is an adapter, else on WebAssembly; returns its name.
stylemix.startRuntime = async () => {
  if (!globalThis.WebAssembly) {
    throw new Error("This browser has WebAssembly turned off, as lockdown modes do; permit it for "
      + "this page, or use another browser");
  }
  let adapter = null;
  if (navigator.gpu) adapter = await navigator.gpu.requestAdapter().catch(() => null);
  stylemix.backend = adapter ? "webgpu" : "wasm";
  await stylemix.loadScript(`runtime/ort.${stylemix.backend}.min.js`);
  await stylemix.loadScript(`runtime/${stylemix.backend}.js`);
  const module = new Blob([stylemix.bytes(stylemix.files.module)], { type: "text/javascript" });
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = stylemix.bytes(stylemix.files.binary).buffer;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(module) };
  // Threads need memory that is shared, which browsers permit to isolated pages only.
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  delete stylemix.files.module;
  delete stylemix.files.binary;
  return stylemix.backend;
};

let sessions = {};

// Goes on with WebAssembly where the WebGPU of a device cannot run a network.
stylemix.leaveWebGpu = () => {
  stylemix.backend = "wasm";
  sessions = {};
};

// The session of a network by the name of its file, loaded at its first use.
stylemix.network = (name) => {
  sessions[name] ??= (async () => {
    await stylemix.loadScript(`models/${name}.js`);
    const bytes = stylemix.bytes(stylemix.files[name]);
    const providers = stylemix.backend === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
    const options = { executionProviders: providers, logSeverityLevel: 3 };
    return ort.InferenceSession.create(bytes, options);
  })().catch((error) => {
    delete sessions[name]; // the next use tries again
    throw error;
  });
  return sessions[name];
};

let last = Promise.resolve();

// Runs a network on inputs {name: [values, shape]}; returns outputs {name: values}. One at a time.
stylemix.run = (name, inputs) => {
  const job = async () => {
    const session = await stylemix.network(name);
    const feeds = {};
    for (const [key, [values, shape]] of Object.entries(inputs)) {
      feeds[key] = new ort.Tensor("float32", values, shape);
    }
    const results = await session.run(feeds);
    return Object.fromEntries(Object.entries(results).map(([key, tensor]) => [key, tensor.data]));
  };
  const result = last.then(job);
  last = result.catch(() => undefined);
  return result;
};
