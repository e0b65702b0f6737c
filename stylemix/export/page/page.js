// The page itself: camera, photo, controls, and what is shown.
"use strict";

{
  const MAX_SIDE = 640; // px of the image in which faces are found
  const STEADY = 0.6; // of the last frame's points and light, so that a drawing does not tremble
  const byId = (id) => document.getElementById(id);
  const { page } = stylemix;
  const source = byId("source"), aligned = document.createElement("canvas");
  let stream = null, asking = false, picture = null, choices = 0;
  let face = null, steady = null, times = [], frames = 0;
  const details = { camera: "160", photo: "256" };

  const say = (text, isError = false) => {
    byId("status").textContent = text;
    byId("status").classList.toggle("error", isError);
  };
  const failed = (error) => say(error?.message || String(error), true);
  const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
  const percent = (id) => Number(byId(id).value) / 100;

  // Puts a video frame or photo of width x height px on the source canvas.
  const take = (image, width, height) => {
    const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
    source.width = Math.max(1, Math.round(width * scale));
    source.height = Math.max(1, Math.round(height * scale));
    const context = source.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.fillStyle = "white"; // beneath what is transparent
    context.fillRect(0, 0, source.width, source.height);
    context.drawImage(image, 0, 0, source.width, source.height);
    return scale;
  };

  const frameFace = ({ box: [left, top, right, bottom] }) => {
    const context = source.getContext("2d");
    context.strokeStyle = "#7c5cff";
    context.lineWidth = Math.max(2, source.width / 200);
    context.strokeRect(left, top, right - left, bottom - top);
  };

  const blend = (before, now) => now.map((value, i) => before[i] + (1 - STEADY) * (value - before[i]));

  // Finds and draws the face of an image of width x height px; `live` follows that of the last one.
  // Returns whether there is a face; null, without a change, for what is `isCurrent` no more.
  const drawOnce = async (image, width, height, live, isCurrent) => {
    const scale = take(image, width, height), planes = stylemix.planes(source);
    const followed = live && face ? await stylemix.followFace(planes, face) : null;
    const found = followed ?? await stylemix.findFace(planes);
    if (!isCurrent()) return null;
    face = found;
    if (!found) {
      steady = null;
      return false;
    }
    let points = found.points;
    if (live && followed && steady) points = points.map((point, i) => blend(steady.points[i], point));
    const side = Number(byId("detail").value);
    // A photo is aligned at its own resolution; the points are those of the smaller canvas.
    const own = points.map((point) => point.map((value) => value / scale));
    stylemix.align(image, [width, height], own, side, aligned);
    const crop = stylemix.planes(aligned);
    let curve = stylemix.toneCurve(crop);
    if (live && followed && steady) curve = blend(steady.curve, curve);
    steady = { points, curve };
    const drawing = await stylemix.draw(byId("style").value, crop, curve);
    if (!isCurrent()) return null;
    stylemix.show(byId("drawing"), drawing, 2 * side, 2 * side);
    frameFace(found);
    return true;
  };

  const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

  const watch = async (own) => {
    const video = document.createElement("video"), isCurrent = () => stream === own;
    video.muted = video.playsInline = true;
    video.srcObject = own;
    await video.play();
    times = [];
    while (isCurrent()) {
      await nextFrame();
      const started = performance.now();
      const { videoWidth, videoHeight } = video;
      const found = await drawOnce(video, videoWidth, videoHeight, true, isCurrent);
      if (!isCurrent()) break;
      const now = performance.now();
      times = [...times.filter((time) => now - time < 3000), now];
      if (found) byId("rate").dataset.frames = ++frames;
      const rate = times.length > 1 ? (1000 * (times.length - 1)) / (now - times[0]) : 0;
      byId("rate").textContent = found
        ? `${rate.toFixed(1)} frames per second, ${Math.round(now - started)} ms a frame`
        : "No face in the camera: look at it, with eyes and mouth visible";
    }
  };

  const stopCamera = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    byId("camera").textContent = "Start the camera";
  };

  // The photo that is drawn, or none; the memory of the last one is free at once.
  const setPicture = (image, kind) => {
    picture?.close();
    picture = image;
    byId("detail").value = details[kind];
  };

  const cameraProblem = (error) => ({
    NotAllowedError: "The camera was not permitted; permit it in the browser, or choose a photo",
    NotFoundError: "No camera was found; connect one, or choose a photo",
    NotReadableError: "The camera is used by another program; close that, or choose a photo",
  }[error.name] ?? `The camera does not start (${error.message}); choose a photo`);

  const toggleCamera = async () => {
    if (stream) return stopCamera();
    if (asking) return; // nothing would stop a second stream
    if (!navigator.mediaDevices) {
      return say("This page may not use a camera: open it with https:// or as a file", true);
    }
    asking = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    } catch (error) {
      return say(cameraProblem(error), true);
    } finally {
      asking = false;
    }
    stream.getVideoTracks()[0].onended = () => {
      stopCamera();
      say("The camera is gone; connect it and start it again, or choose a photo", true);
    };
    choices += 1;
    setPicture(null, "camera");
    face = steady = null;
    byId("camera").textContent = "Stop the camera";
    ready();
    const own = stream;
    return watch(own).catch((error) => {
      if (stream === own) stopCamera();
      throw error;
    });
  };

  let drawing = false, redraw = false, refused = false;
  // Draws the photo; another photo, style or size meanwhile waits for one more run. What is said of
  // a file that was refused meanwhile stays.
  const drawPicture = async () => {
    redraw = true;
    refused = false;
    if (drawing) return;
    drawing = true;
    try {
      while (redraw && picture) {
        redraw = false;
        const started = performance.now(), image = picture;
        say("Drawing ...");
        const isCurrent = () => picture === image;
        const found = await drawOnce(image, image.width, image.height, false, isCurrent);
        if (found === null) continue;
        if (found) {
          byId("rate").textContent = `1 photo, ${Math.round(performance.now() - started)} ms`;
          byId("rate").dataset.frames = ++frames;
          if (!refused) ready();
        } else {
          byId("drawing").width = byId("drawing").height; // without that of an earlier photo
          byId("rate").textContent = "No drawing";
          say("No face was found in the photo; choose one with eyes and mouth visible", true);
        }
      }
    } finally {
      drawing = false;
    }
  };

  const choosePhoto = async (file) => {
    if (!file || byId("photo").disabled) return;
    stopCamera();
    const choice = ++choices;
    let image = null;
    try {
      image = await createImageBitmap(file);
    } catch {
      // It is none; the file that was chosen last has its say.
    }
    if (choice !== choices) return image?.close();
    if (!image) {
      refused = true;
      say(`${file.name} is not an image that this browser reads; choose a JPEG, PNG or WebP`, true);
      return;
    }
    setPicture(image, "photo");
    await drawPicture();
  };

  const showFace = (id, image, number) => {
    const { side, channels } = page.model;
    stylemix.show(byId(id), image, side, side, number * channels * side * side, channels);
  };

  const seed = (id) => Math.min(Math.max(Math.trunc(Number(byId(id).value)) || 0, 0), 2 ** 32 - 1);

  let mixing = false, again = false, shown = "", ends = [];
  // Renders the mixture, and A and B where they are new; changes meanwhile wait for one more run.
  const mix = async () => {
    again = true;
    if (mixing) return;
    mixing = true;
    try {
      while (again) {
        again = false;
        const started = performance.now(), seeds = [seed("seed-a"), seed("seed-b")];
        const wanted = [...seeds, percent("psi")].join();
        const fresh = wanted !== shown;
        if (fresh) ends = await stylemix.mapSeeds(seeds, percent("psi"));
        const amounts = { coarse: percent("coarse"), middle: percent("middle"), fine: percent("fine") };
        const mixed = stylemix.mixLatents(...ends, amounts);
        const image = await stylemix.render(fresh ? [mixed, ...ends] : [mixed]);
        const targets = fresh ? ["face-mixed", "face-a", "face-b"] : ["face-mixed"];
        targets.forEach((id, number) => showFace(id, image, number));
        shown = wanted;
        const faces = count(targets.length, "face");
        byId("mix-time").textContent = `${faces} in ${Math.round(performance.now() - started)} ms`;
      }
    } finally {
      mixing = false;
    }
  };

  const ready = () => {
    const name = { webgpu: "WebGPU", wasm: "WebAssembly" }[stylemix.backend];
    const threads = stylemix.backend === "wasm" ? `, ${count(ort.env.wasm.numThreads, "thread")}` : "";
    say(`Ready: computing on ${name}${threads}`);
  };

  // Loads the networks, and runs each once: WebGPU compiles its programs then.
  const warmUp = async () => {
    const [latent] = await stylemix.mapSeeds([0], 1);
    await stylemix.render([latent]);
    const image = { data: new Float32Array(3 * 96 * 96), width: 96, height: 96 };
    await stylemix.findFace(image);
    await stylemix.followFace(image, { box: [0, 0, 48, 48] });
    await stylemix.draw(page.styles[0].file, image, [0, 1, 1]);
  };

  const start = async () => {
    say("Loading ...");
    for (const { name, file } of page.styles) byId("style").add(new Option(name, file));
    byId("credits").textContent = [...page.styles, page.model]
      .map(({ name, licence, credit }) => `${name}: ${licence} (${credit})`).join(". ");
    await stylemix.startRuntime();
    try {
      await warmUp();
    } catch (error) {
      if (stylemix.backend === "wasm") throw error;
      console.warn(`WebGPU is not used: ${error.message}`);
      stylemix.leaveWebGpu();
      await warmUp();
    }
    details.camera = stylemix.backend === "webgpu" ? "256" : "160";
    byId("detail").value = details.camera;
    await mix();
    document.querySelectorAll(":disabled").forEach((control) => { control.disabled = false; });
    ready();
  };

  const listen = (target, event, action) => target.addEventListener(
    event, (...given) => Promise.resolve(action(...given)).catch(failed));
  const handle = (id, event, action) => listen(byId(id), event, action);
  handle("camera", "click", toggleCamera);
  handle("photo", "change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    return choosePhoto(file);
  });
  // Without these, a file that is dropped would replace the page.
  for (const kind of ["dragover", "drop"]) {
    listen(document, kind, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return undefined;
      event.preventDefault();
      return choosePhoto(event.dataTransfer.files[0]);
    });
  }
  listen(document, "visibilitychange", () => {
    if (!document.hidden || !stream) return;
    stopCamera();
    say("The camera was stopped, since the page was hidden; start it again, or choose a photo");
  });
  handle("style", "change", drawPicture);
  handle("detail", "change", (event) => {
    details[picture ? "photo" : "camera"] = event.target.value;
    return drawPicture();
  });
  handle("shuffle", "click", () => {
    for (const id of ["seed-a", "seed-b"]) byId(id).value = Math.floor(Math.random() * 1e6);
    return mix();
  });
  for (const id of ["seed-a", "seed-b"]) {
    handle(id, "change", () => {
      byId(id).value = seed(id);
      return mix();
    });
  }
  for (const id of ["coarse", "middle", "fine", "psi"]) {
    handle(id, "input", (event) => {
      event.target.nextElementSibling.value = `${event.target.value} %`;
      return mix();
    });
  }
  start().catch(failed);
}
