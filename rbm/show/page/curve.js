// The response curve: the answers along one parameter, all others held.

/** Return `count` values from low to high, evenly spaced or by equal ratios, with both ends exactly. */
function spaced(low, high, count, isLog) {
  return Array.from({ length: count }, (_, i) => {
    if (i === 0) return low;
    if (i === count - 1) return high;
    const share = i / (count - 1);
    return isLog ? Math.min(Math.max(low * (high / low) ** share, low), high) : low + (high - low) * share;
  });
}

/** Return {x, bound, floor, outputs: [{re, im, bound}]}, arrays (count,), NaN at points without a certified answer. */
function curve(model, mu, j, count) {
  const { low, high } = model.parameters[j];
  const x = Float64Array.from(spaced(low, high, count, model.scale === "log"));
  const empty = () => new Float64Array(count).fill(NaN);
  const made = { x, bound: empty(), floor: empty(), outputs: model.outputs.map(() => ({ re: empty(), im: empty(), bound: empty() })) };
  const point = [...mu];
  x.forEach((value, i) => {
    point[j] = value;
    let found;
    try {
      found = answer(model, point);
    } catch {
      return; // a resonance, for instance: the curve has a gap there
    }
    made.bound[i] = found.bound;
    made.floor[i] = found.floor;
    found.outputs.forEach(({ value: [re, im], bound }, k) => {
      made.outputs[k].re[i] = re;
      made.outputs[k].im[i] = im;
      made.outputs[k].bound[i] = bound;
    });
  });
  return made;
}
