// A squarified treemap (Bruls, Huizing, van Wijk 2000): rectangles whose areas are the sizes, as square as can be.
export function treemap(sizes, x, y, width, height) {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const rects = sizes.map(() => null);
  if (!total || width <= 0 || height <= 0) return rects;
  const order = sizes.map((_, index) => index).filter((index) => sizes[index] > 0).sort((one, other) => sizes[other] - sizes[one]);
  const area = (width * height) / total;
  for (let start = 0; start < order.length; ) {
    const side = Math.min(width, height);
    let end = start;
    let sum = 0;
    for (let worst = Infinity; end < order.length; end++) {
      const more = sum + sizes[order[end]] * area;
      const next = worstRatio(sizes[order[start]] * area, sizes[order[end]] * area, more, side);
      if (next > worst) break;
      worst = next;
      sum = more;
    }
    const thickness = sum / side;
    let along = 0;
    for (const index of order.slice(start, end)) {
      const length = (sizes[index] * area) / thickness;
      rects[index] = width >= height ? [x, y + along, thickness, length] : [x + along, y, length, thickness];
      along += length;
    }
    if (width >= height) [x, width] = [x + thickness, width - thickness];
    else [y, height] = [y + thickness, height - thickness];
    start = end;
  }
  return rects;
}

// The worst ratio of sides in a row whose largest and smallest areas and whose sum are known.
function worstRatio(largest, smallest, sum, side) {
  return Math.max((side * side * largest) / (sum * sum), (sum * sum) / (side * side * smallest));
}

// Rectangles of the nodes of the last level, inside those of the levels above; `levels` are numbers of nodes.
export function hierarchyMap(levels, sizes, width, height) {
  let rects = [[0, 0, width, height]];
  for (const [depth, count] of levels.entries()) {
    const per = sizes.length / count;
    const sums = Array.from({ length: count }, (_, node) => sizes.slice(node * per, (node + 1) * per).reduce((sum, size) => sum + size, 0));
    const children = count / rects.length;
    const gap = depth && depth < levels.length ? 1.5 : 0;
    rects = rects.flatMap((rect, parent) => {
      if (!rect) return Array(children).fill(null);
      const [x, y, w, h] = rect;
      return treemap(sums.slice(parent * children, (parent + 1) * children), x + gap, y + gap, w - 2 * gap, h - 2 * gap);
    });
  }
  return rects;
}
