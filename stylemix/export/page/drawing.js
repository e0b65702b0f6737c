// From a face to its drawing: the aligned crop, the tone curve, the student.
"use strict";

{
  const LUMA = [0.299, 0.587, 0.114];

  // Planes in [-1, 1] of what a canvas shows.
  stylemix.planes = (canvas) => {
    const { width, height } = canvas, count = width * height;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const planes = new Float32Array(3 * count);
    for (let i = 0; i < count; i++) {
      for (let plane = 0; plane < 3; plane++) {
        planes[plane * count + i] = data[4 * i + plane] / 127.5 - 1;
      }
    }
    return { data: planes, width, height };
  };

  // Shows planes in [-1, 1], of one colour or three, on a canvas.
  stylemix.show = (canvas, data, width, height, start = 0, channels = 3) => {
    const count = width * height, image = new ImageData(width, height);
    for (let i = 0; i < count; i++) {
      for (let plane = 0; plane < 3; plane++) {
        const from = channels === 3 ? plane : 0;
        image.data[4 * i + plane] = Math.round((data[start + from * count + i] + 1) * 127.5);
      }
      image.data[4 * i + 3] = 255;
    }
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(image, 0, 0);
  };

  // The similarity {a, b, x, y} that moves points to targets with least squares:
  // (px, py) -> (a px - b py + x, b px + a py + y).
  stylemix.similarity = (points, targets) => {
    const mean = (rows, axis) => rows.reduce((sum, row) => sum + row[axis], 0) / rows.length;
    const [mx, my, tx, ty] = [mean(points, 0), mean(points, 1), mean(targets, 0), mean(targets, 1)];
    let a = 0, b = 0, power = 0;
    points.forEach(([px, py], i) => {
      const [x, y, u, v] = [px - mx, py - my, targets[i][0] - tx, targets[i][1] - ty];
      a += x * u + y * v;
      b += x * v - y * u;
      power += x * x + y * y;
    });
    a /= power;
    b /= power;
    return { a, b, x: tx - a * mx + b * my, y: ty - b * mx - a * my };
  };

  // The aligned crop of a face in an image of width x height px, on a canvas of side px: on white,
  // and mirrored beyond the image, as by stylemix align.
  stylemix.align = (image, [width, height], points, side, canvas) => {
    const targets = stylemix.page.template.map((point) => point.map((value) => value * side));
    const { a, b, x, y } = stylemix.similarity(points, targets);
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.fillStyle = "white";
    context.fillRect(0, 0, side, side);
    const power = a * a + b * b, px = 1 / Math.sqrt(power); // of the crop, in px of the image
    const corners = [[0, 0], [side, 0], [0, side], [side, side]].map(([u, v]) => [
      (a * (u - x) + b * (v - y)) / power, (a * (v - y) - b * (u - x)) / power,
    ]);
    // The image itself is the last: its copies reach one px into it, so that no seam is seen.
    const copies = (axis, length) => {
      const places = corners.map((corner) => corner[axis]);
      const before = Math.min(...places) < 0 ? [px] : [];
      const after = Math.max(...places) > length ? [2 * length - px] : [];
      return [...[...before, ...after].map((start) => [start, -1]), [0, 1]];
    };
    for (const [left, across] of copies(0, width)) {
      for (const [top, down] of copies(1, height)) {
        context.setTransform(a, b, -b, a, x, y);
        context.transform(across, 0, 0, down, left, top);
        context.drawImage(image, 0, 0, width, height);
      }
    }
    context.resetTransform();
  };

  const quantile = (sorted, part) => {
    const at = part * (sorted.length - 1), low = Math.floor(at);
    const high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
  };

  // The curve that evens out the light of a crop: stylemix.networks.student.tone_curve.
  stylemix.toneCurve = ({ data, width, height }) => {
    const count = width * height, luma = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      for (let plane = 0; plane < 3; plane++) {
        luma[i] += LUMA[plane] * ((data[plane * count + i] + 1) / 2);
      }
    }
    const { tone } = stylemix.page, step = Math.max(1, Math.floor(count / 8192));
    const sorted = luma.filter((_, i) => i % step === 0).sort();
    const low = quantile(sorted, 0.005), span = Math.max(quantile(sorted, 0.99) - low, 0.1);
    const [first, end] = tone.face, face = [];
    for (let y = Math.round(first * height); y < Math.round(end * height); y++) {
      for (let x = Math.round(first * width); x < Math.round(end * width); x++) {
        face.push(luma[y * width + x]);
      }
    }
    const median = Float32Array.from(face).sort()[(face.length - 1) >> 1];
    const middle = Math.min(Math.max((median - low) / span, 0.05), 0.95);
    const exponent = tone.power / Math.log(middle);
    return [low, span, Math.min(Math.max(exponent, tone.exponents[0]), tone.exponents[1])];
  };

  // The drawing of a crop in a style: planes of twice its side.
  stylemix.draw = async (style, crop, curve) => {
    const { drawing } = await stylemix.run(style, {
      photo: [crop.data, [1, 3, crop.height, crop.width]],
      curve: [Float32Array.from(curve), [1, 3]],
    });
    return drawing;
  };
}
