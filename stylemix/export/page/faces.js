// Finding faces: the cascade of stylemix.faces.detector (MTCNN, arXiv 1604.02878), step by step.
// An image is {data, width, height}: three planes of values in [-1, 1].
"use strict";

{
  const FACTOR = 0.709, FIELD = 12, STRIDE = 2, MIN_FACE = 20, THRESHOLDS = [0.6, 0.7, 0.7];
  const JITTER = [
    [0, 0, 0, 0], [1, 0, 1, 0], [-1, 0, -1, 0], [0, 1, 0, 1], [0, -1, 0, -1],
    [-1, -1, 1, 1], [1, 1, -1, -1],
  ].map((row) => row.map((value) => 0.05 * value));
  const MIRRORED = [1, 0, 2, 4, 3];

  // Weights of a triangle filter, as wide as a pixel of the result if that is larger.
  const triangle = (from, to) => {
    const scale = from / to, reach = Math.max(scale, 1);
    return Array.from({ length: to }, (_, index) => {
      const centre = (index + 0.5) * scale;
      const start = Math.max(Math.trunc(centre - reach + 0.5), 0);
      const end = Math.min(Math.trunc(centre + reach + 0.5), from);
      const weights = [];
      for (let i = start; i < end; i++) {
        weights.push(Math.max(0, 1 - Math.abs((i + 0.5 - centre) / reach)));
      }
      const total = weights.reduce((a, b) => a + b, 0);
      return [start, weights.map((weight) => weight / total)];
    });
  };

  const resize = ({ data, width, height }, newWidth, newHeight) => {
    const columns = triangle(width, newWidth), rows = triangle(height, newHeight);
    const wide = new Float32Array(3 * height * newWidth);
    for (let y = 0, out = 0; y < 3 * height; y++) {
      for (const [start, weights] of columns) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * data[y * width + start + i];
        wide[out++] = sum;
      }
    }
    const result = new Float32Array(3 * newHeight * newWidth);
    for (let plane = 0; plane < 3; plane++) {
      for (let y = 0; y < newHeight; y++) {
        const [start, weights] = rows[y], out = (plane * newHeight + y) * newWidth;
        for (let i = 0; i < weights.length; i++) {
          const from = (plane * height + start + i) * newWidth;
          for (let x = 0; x < newWidth; x++) result[out + x] += weights[i] * wide[from + x];
        }
      }
    }
    return { data: result, width: newWidth, height: newHeight };
  };

  const halve = ({ data, width, height }) => {
    const w = width >> 1, h = height >> 1, result = new Float32Array(3 * w * h);
    for (let plane = 0, out = 0; plane < 3; plane++) {
      for (let y = 0; y < h; y++) {
        for (let x = 0; x < w; x++) {
          const at = (plane * height + 2 * y) * width + 2 * x;
          result[out++] = (data[at] + data[at + 1] + data[at + width] + data[at + width + 1]) / 4;
        }
      }
    }
    return { data: result, width: w, height: h };
  };

  const pyramid = (image) => {
    const levels = [image];
    while (Math.min(levels.at(-1).width, levels.at(-1).height) >= 96) {
      levels.push(halve(levels.at(-1)));
    }
    return levels;
  };

  // A box resampled to size x size px, the mean of 2 x 2 bilinear samples for each.
  const crop = (image, box, size, mirrored, out, offset) => {
    const { data, width, height } = image, fine = 2 * size;
    const axis = (low, high, limit) => Array.from({ length: fine }, (_, i) => {
      const at = low + ((i + 0.5) / fine) * (high - low) - 0.5;
      const position = Math.min(Math.max(at, 0), limit - 1), first = Math.floor(position);
      return [first, Math.min(first + 1, limit - 1), position - first];
    });
    const columns = axis(box[0], box[2], width), rows = axis(box[1], box[3], height);
    if (mirrored) columns.reverse();
    for (let plane = 0; plane < 3; plane++) {
      const base = plane * width * height;
      for (let y = 0; y < fine; y++) {
        const [top, bottom, down] = rows[y], a = base + top * width, b = base + bottom * width;
        for (let x = 0; x < fine; x++) {
          const [left, right, along] = columns[x];
          const upper = data[a + left] + along * (data[a + right] - data[a + left]);
          const lower = data[b + left] + along * (data[b + right] - data[b + left]);
          out[offset + (plane * size + (y >> 1)) * size + (x >> 1)] +=
            (upper + down * (lower - upper)) / 4;
        }
      }
    }
  };

  // Scores, box offsets and points of boxes, by one of the later networks.
  const evaluate = async (name, levels, boxes, size, mirrored = false) => {
    const pixels = new Float32Array(boxes.length * 3 * size * size);
    boxes.forEach((box, number) => {
      const wanted = Math.floor(Math.log2(Math.max((box[2] - box[0]) / size, 1)));
      const depth = Math.min(wanted, levels.length - 1);
      const scaled = box.map((value) => value / 2 ** depth);
      crop(levels[depth], scaled, size, mirrored, pixels, number * 3 * size * size);
    });
    const { score, box, points } = await stylemix.run(
      name, { x: [pixels, [boxes.length, 3, size, size]] });
    const rows = (values, width) => boxes.map((_, i) => [...values.slice(i * width, (i + 1) * width)]);
    return { scores: [...score], offsets: rows(box, 4), points: points && rows(points, 10) };
  };

  const regress = (box, offset) => {
    const sides = [box[2] - box[0], box[3] - box[1]];
    return box.map((value, i) => value + offset[i] * sides[i % 2]);
  };

  const square = (box) => {
    const x = (box[0] + box[2]) / 2, y = (box[1] + box[3]) / 2;
    const half = Math.max(box[2] - box[0], box[3] - box[1]) / 2;
    return [x - half, y - half, x + half, y + half];
  };

  const area = (box) => Math.max(box[2] - box[0], 0) * Math.max(box[3] - box[1], 0);

  // The numbers of the boxes to keep, best first; overlap in parts of the union or the smaller box.
  const suppress = (boxes, scores, threshold, ofSmaller = false) => {
    let order = boxes.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
    const keep = [];
    while (order.length) {
      const [best, ...rest] = order, a = boxes[best];
      keep.push(best);
      order = rest.filter((i) => {
        const b = boxes[i];
        const shared = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0)
          * Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
        const whole = ofSmaller ? Math.min(area(a), area(b)) : area(a) + area(b) - shared;
        return shared <= threshold * whole;
      });
    }
    return keep;
  };

  const propose = async (image) => {
    const { width, height } = image, found = [];
    for (let scale = FIELD / MIN_FACE; Math.min(width, height) * scale >= FIELD; scale *= FACTOR) {
      const level = resize(image, Math.ceil(width * scale), Math.ceil(height * scale));
      const shape = [1, 3, level.height, level.width];
      const { score, box } = await stylemix.run("propose", { x: [level.data, shape] });
      const columns = Math.ceil((level.width - 2) / 2) - 4, count = score.length;
      const boxes = [], scores = [], offsets = [];
      for (let i = 0; i < count; i++) {
        if (score[i] <= THRESHOLDS[0]) continue;
        const x = STRIDE * (i % columns), y = STRIDE * Math.floor(i / columns);
        boxes.push([x, y, x + FIELD, y + FIELD].map(
          (value, axis) => value * (axis % 2 ? height / level.height : width / level.width)));
        scores.push(score[i]);
        offsets.push([0, 1, 2, 3].map((axis) => box[axis * count + i]));
      }
      for (const i of suppress(boxes, scores, 0.5)) {
        found.push([regress(boxes[i], offsets[i]), scores[i]]);
      }
    }
    const boxes = found.map(([box]) => box), scores = found.map(([, score]) => score);
    return suppress(boxes, scores, 0.7).map((i) => square(boxes[i]));
  };

  // The five points of a box, averaged over mirrored and, in photos, moved boxes: [[x, y], ...].
  const locate = async (levels, box, live) => {
    const moved = (live ? JITTER.slice(0, 1) : JITTER).map((offset) => regress(box, offset));
    const sums = Array.from({ length: 5 }, () => [0, 0]);
    for (const mirrored of [false, true]) {
      const { points } = await evaluate("locate", levels, moved, 48, mirrored);
      points.forEach((row, number) => {
        const [left, top, right, bottom] = moved[number];
        for (let i = 0; i < 5; i++) {
          const from = mirrored ? MIRRORED[i] : i;
          const x = mirrored ? 1 - row[from] : row[from];
          sums[i][0] += left + x * (right - left);
          sums[i][1] += top + row[from + 5] * (bottom - top);
        }
      });
    }
    return sums.map((pair) => pair.map((value) => value / (2 * moved.length)));
  };

  // The largest face in some square boxes, by the last network; null if there is none.
  const output = async (levels, boxes, live = false) => {
    const { scores, offsets } = await evaluate("locate", levels, boxes, 48);
    const faces = boxes.map((box, i) => ({ square: box, box: regress(box, offsets[i]), score: scores[i] }))
      .filter((face) => face.score > THRESHOLDS[2]);
    const best = suppress(faces.map((face) => face.box), faces.map((face) => face.score), 0.7, true);
    const largest = best.map((i) => faces[i]).sort((a, b) => area(b.box) - area(a.box))[0];
    return largest ? { ...largest, points: await locate(levels, largest.square, live) } : null;
  };

  // The largest face of an image, {box, score, points}, or null.
  stylemix.findFace = async (image) => {
    const levels = pyramid(image);
    let boxes = await propose(image);
    if (!boxes.length) return null;
    const { scores, offsets } = await evaluate("refine", levels, boxes, 24);
    const good = boxes.map((_, i) => i).filter((i) => scores[i] > THRESHOLDS[1]);
    boxes = suppress(good.map((i) => boxes[i]), good.map((i) => scores[i]), 0.7)
      .map((i) => square(regress(boxes[good[i]], offsets[good[i]])));
    return boxes.length ? output(levels, boxes) : null;
  };

  // The same face in the next image of a video, or null if it is not there.
  stylemix.followFace = (image, face) => output(pyramid(image), [square(face.box)], true);
}
