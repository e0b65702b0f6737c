// Seeds, latents and their mixtures.
"use strict";

{
  // z of a seed, the same as in stylemix: MT19937 (Matsumoto and Nishimura 1998), and normal values
  // by the polar method (Marsaglia and Bray 1964), which gives two at a time, the second first.
  stylemix.latent = (seed, length) => {
    const state = new Uint32Array(624);
    state[0] = seed;
    for (let i = 1; i < 624; i++) {
      state[i] = Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1812433253) + i;
    }
    let at = 624;
    const integer = () => {
      if (at === 624) {
        for (let i = 0; i < 624; i++) {
          const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
          state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
        }
        at = 0;
      }
      let y = state[at++];
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      return (y ^ (y >>> 18)) >>> 0;
    };
    const uniform = () => {
      const high = integer() >>> 5, low = integer() >>> 6;
      return (high * 67108864 + low) / 9007199254740992;
    };
    const values = [];
    while (values.length < length) {
      let x, y, square;
      do {
        x = 2 * uniform() - 1;
        y = 2 * uniform() - 1;
        square = x * x + y * y;
      } while (square >= 1 || square === 0);
      const scale = Math.sqrt((-2 * Math.log(square)) / square);
      values.push(scale * y, scale * x);
    }
    return values.slice(0, length);
  };

  // The latents of seeds, one array of layers x width values for each.
  stylemix.mapSeeds = async (seeds, psi) => {
    const { z_dim: width } = stylemix.page.model;
    const z = Float32Array.from(seeds.flatMap((seed) => stylemix.latent(seed, width)));
    const { ws } = await stylemix.run("mapping", {
      z: [z, [seeds.length, width]], psi: [Float32Array.of(psi), [1]],
    });
    const size = ws.length / seeds.length;
    return seeds.map((_, i) => ws.slice(i * size, (i + 1) * size));
  };

  // From latent a to b, by an amount for each band: {coarse, middle, fine} in 0 to 1.
  stylemix.mixLatents = (a, b, amounts) => {
    const { bands, num_ws: layers } = stylemix.page.model, width = a.length / layers;
    const mixed = Float32Array.from(a);
    for (const [band, amount] of Object.entries(amounts)) {
      for (const layer of bands[band]) {
        for (let i = layer * width; i < (layer + 1) * width; i++) mixed[i] += amount * (b[i] - a[i]);
      }
    }
    return mixed;
  };

  // Images of latents, one after the other, as planes.
  stylemix.render = async (latents) => {
    const { num_ws: layers, offsets } = stylemix.page.model, count = latents.length;
    const width = latents[0].length / layers, ws = new Float32Array(count * layers * width);
    latents.forEach((latent, i) => ws.set(latent, i * layers * width));
    const { image } = await stylemix.run("synthesis", {
      ws: [ws, [count, layers, width]],
      offsets: [new Float32Array(count * offsets), [count, offsets]],
    });
    return image;
  };
}
