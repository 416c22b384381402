// The linear program of a stability bound, without a solver: walks between vertices (rbm/stability/vertex_walk.py).
//
// Minimise c . y over lower <= y <= upper and C y >= levels. Any multipliers lambda >= 0 prove a bound, so a walk that
// loses its way costs sharpness and not truth.

/** Return the program with the vertices from which walks start. */
function readWalk(stored) {
  const made = Object.fromEntries(["lower", "upper", "rows", "levels", "normals", "right", "edges", "points"].map((name) => [name, readArray(stored[name]).re]));
  return { ...stored, ...made, count: made.lower.length, inequalities: made.right.length };
}

/** Return the proved lower bound of the program for the coefficients c (Q,). */
function walkBound(program, c) {
  const { lower, upper, rows, levels, count } = program;
  const { held, multipliers } = walkEnd(program, c);
  // theta . y >= lambda . levels + sum_q min(r_q lower_q, r_q upper_q), r = c - C^T lambda
  const rest = Float64Array.from(c);
  const sizes = Float64Array.from(c, Math.abs);
  let bound = 0;
  let size = 0;
  for (let i = 0; i < count; i++) {
    const j = held[i];
    if (j >= levels.length || !(multipliers[i] > 0)) continue;
    bound += multipliers[i] * levels[j];
    size += multipliers[i] * Math.abs(levels[j]);
    for (let q = 0; q < count; q++) {
      rest[q] -= multipliers[i] * rows[j * count + q];
      sizes[q] += multipliers[i] * Math.abs(rows[j * count + q]);
    }
  }
  for (let q = 0; q < count; q++) {
    bound += Math.min(rest[q] * lower[q], rest[q] * upper[q]);
    size += sizes[q] * Math.max(Math.abs(lower[q]), Math.abs(upper[q]));
  }
  return bound - (program.rounding * size + program.underflow);
}

/** Return which inequalities hold with equality where the walk for c ends, and their multipliers (Q,). */
function walkEnd(program, c) {
  const { points, edges, active, count, steps, allowed } = program;
  let start = 0;
  let best = Infinity;
  for (let v = 0; v < active.length; v++) {
    const value = sumOfProducts(c, points, v * count);
    if (value < best) [start, best] = [v, value];
  }
  const inverse = edges.slice(start * count * count, (start + 1) * count * count);
  const y = points.slice(start * count, (start + 1) * count);
  const held = [...active[start]];
  const tolerance = allowed * c.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
  for (let step = 0; ; step++) {
    const multipliers = new Float64Array(count); // B^{-T} c
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) multipliers[j] += c[i] * inverse[i * count + j];
    }
    const leaving = step === steps ? -1 : leavingPlace(multipliers, held, tolerance, 2 * step < steps);
    if (leaving < 0 || !stepAlong(program, inverse, y, held, leaving)) return { held, multipliers };
  }
}

/** Return the place of the most negative multiplier; later in a walk that of the first inequality. -1 at the optimum. */
function leavingPlace(multipliers, held, tolerance, early) {
  let found = -1;
  for (let i = 0; i < held.length; i++) {
    if (!(multipliers[i] < -tolerance)) continue;
    if (found < 0 || (early ? multipliers[i] < multipliers[found] : held[i] < held[found])) found = i;
  }
  return found;
}

/** Go along one edge to the next vertex; return false where no inequality ends the edge. */
function stepAlong({ normals, right, inequalities, count, least }, inverse, y, held, leaving) {
  const edge = new Float64Array(count);
  for (let i = 0; i < count; i++) edge[i] = inverse[i * count + leaving];
  let entering = -1;
  let length = Infinity;
  for (let j = 0; j < inequalities; j++) {
    const slope = sumOfProducts(edge, normals, j * count);
    if (!(slope < -least)) continue;
    const far = Math.max(sumOfProducts(y, normals, j * count) - right[j], 0) / -slope;
    if (far < length) [entering, length] = [j, far];
  }
  if (entering < 0) return false;
  // B^{-1} with one row of B replaced
  const image = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) image[j] += normals[entering * count + i] * inverse[i * count + j];
  }
  const pivot = image[leaving];
  image[leaving] = pivot - 1;
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) inverse[i * count + j] -= (edge[i] / pivot) * image[j];
    y[i] += length * edge[i];
  }
  held[leaving] = entering;
  return true;
}
