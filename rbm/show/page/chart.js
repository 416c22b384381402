// The chart: a curve with its certified band, and where the sliders stand.

/** Return round numbers from low to high, about `wanted` of them; powers of ten and their parts on a log scale. */
function ticks(low, high, wanted, isLog) {
  if (isLog) {
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const every = Math.max(1, Math.ceil((last - first) / wanted));
    const parts = last - first <= 2 && every === 1 ? [1, 2, 5] : [1];
    const made = [];
    for (let e = first; e <= last; e += every) for (const part of parts) made.push(Number(`${part}e${e}`));
    return made.filter((x) => x >= low * (1 - 1e-9) && x <= high * (1 + 1e-9));
  }
  const rough = (high - low) / wanted;
  const order = 10 ** Math.floor(Math.log10(rough));
  const step = order * [1, 2, 5, 10].find((k) => k * order >= rough * (1 - 1e-9));
  const made = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) made.push(k * step);
  return made;
}

/** Return texts of ticks, with the decimals that tell them apart. */
function tickTexts(values, isLog) {
  if (isLog) return values.map((x) => shortNumber(x, 1));
  const largest = Math.max(...values.map(Math.abs), 0);
  const step = values.length > 1 ? values[1] - values[0] : largest || 1;
  if (largest >= 1e5 || (largest > 0 && largest < 1e-3)) {
    return values.map((x) => shortNumber(x, Math.min(Math.max(Math.ceil(Math.log10(Math.abs(x || step) / step) + 1), 1), 8)));
  }
  return values.map((x) => plain(x, Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9)))));
}

const MARGIN = { left: 64, right: 14, top: 12, bottom: 42 };

/** A chart inside `parent`; `draw` a curve when there is a new one, `mark` the point of the sliders in every frame. */
class Chart {
  constructor(parent) {
    const ids = { role: "img", "aria-labelledby": "chart-title", "aria-describedby": "chart-text" };
    this.title = shape("title", { id: "chart-title" });
    this.text = shape("desc", { id: "chart-text" });
    this.axes = shape("g");
    this.band = shape("path", { class: "band" });
    this.floor = shape("path", { class: "floor" });
    this.curve = shape("path", { class: "curve" });
    this.bar = shape("path", { class: "bar" });
    this.dot = shape("circle", { class: "dot", r: 5 });
    const clip = shape("clipPath", { id: "inside" }, (this.inside = shape("rect")));
    const plot = shape("g", { "clip-path": "url(#inside)" }, this.band, this.floor, this.curve, this.bar, this.dot);
    this.svg = shape("svg", ids, this.title, this.text, clip, this.axes, plot);
    parent.append(this.svg);
  }

  /** Draw {x, y, radius, floor}, arrays; `to` says which axes are logarithmic, and what they are called. */
  draw(data, to) {
    this.data = data;
    this.to = to;
    this.width = Math.max(this.svg.clientWidth, 240);
    this.height = Math.max(this.svg.clientHeight, 160);
    const { width, height } = this;
    set(this.svg, { viewBox: `0 0 ${width} ${height}` });
    set(this.inside, { x: MARGIN.left, y: 0, width: width - MARGIN.left - MARGIN.right + 6, height: height - MARGIN.bottom });
    const { x, y, radius, floor } = data;
    this.range = rangeOf(y, radius, to.logY);
    const [px, py] = [x, y].map((values, k) => Float64Array.from(values, (v) => (k ? this.atY(v) : this.atX(v))));
    const side = (sign) => Float64Array.from(y, (v, i) => this.atY(v + sign * radius[i]));
    set(this.curve, { d: pathThrough(px, py) });
    set(this.band, { d: radius ? pathAround(px, side(-1), side(1)) : "" });
    set(this.floor, { d: floor ? pathThrough(px, Float64Array.from(floor, (v) => this.atY(v))) : "" });
    this.drawAxes();
  }

  atX(value) {
    const { low, high, logX } = this.to;
    const share = logX ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return MARGIN.left + share * (this.width - MARGIN.left - MARGIN.right);
  }

  atY(value) {
    const [low, high] = this.range;
    const share = this.to.logY ? Math.log(Math.max(value, low * 1e-3) / low) / Math.log(high / low) : (value - low) / (high - low);
    const y = this.height - MARGIN.bottom - share * (this.height - MARGIN.bottom - MARGIN.top);
    return Math.min(Math.max(y, -1e4), 1e4); // far outside is outside
  }

  drawAxes() {
    const { width, height, to } = this;
    const bottom = height - MARGIN.bottom;
    const alongX = ticks(to.low, to.high, Math.max(2, Math.floor(width / 110)), to.logX);
    const alongY = ticks(...this.range, Math.max(2, Math.floor(height / 45)), to.logY);
    const textsX = tickTexts(alongX, to.logX);
    const textsY = tickTexts(alongY, to.logY);
    const made = [shape("path", { class: "axis", d: `M${MARGIN.left} ${bottom}H${width - MARGIN.right}` })];
    alongX.forEach((value, i) => {
      const x = this.atX(value);
      made.push(shape("path", { class: "axis", d: `M${x} ${bottom}v5` }));
      made.push(shape("text", { x, y: bottom + 18, "text-anchor": "middle" }, textsX[i]));
    });
    alongY.forEach((value, i) => {
      const y = this.atY(value);
      made.push(shape("path", { class: "grid", d: `M${MARGIN.left} ${y}H${width - MARGIN.right}` }));
      made.push(shape("text", { x: MARGIN.left - 7, y: y + 4, "text-anchor": "end" }, textsY[i]));
    });
    made.push(shape("text", { x: (MARGIN.left + width - MARGIN.right) / 2, y: height - 6, "text-anchor": "middle" }, to.nameX));
    this.axes.replaceChildren(...made);
  }

  /** Show where the sliders stand: a dot, and a bar from y - radius to y + radius. Nothing where y is not a number. */
  mark(x, y, radius) {
    if (!this.to || !Number.isFinite(y)) {
      this.dot.setAttribute("visibility", "hidden");
      this.bar.setAttribute("d", "");
      return;
    }
    const [cx, cy] = [this.atX(x), this.atY(y)];
    this.dot.setAttribute("visibility", "visible");
    this.dot.setAttribute("cx", cx);
    this.dot.setAttribute("cy", cy);
    const [low, high] = [this.atY(y - radius), this.atY(y + radius)];
    this.bar.setAttribute("d", `M${cx} ${low}V${high}M${cx - 6} ${low}h12M${cx - 6} ${high}h12`);
  }

  /** Say in words what the chart shows. */
  describe(title, text) {
    this.title.textContent = title;
    this.text.textContent = text;
  }
}

/** Return the range of the y axis: all values, and their bands as far as these do not hide the curve. */
function rangeOf(y, radius, isLog) {
  const values = [...y].filter((v) => Number.isFinite(v) && (!isLog || v > 0));
  if (!values.length) return isLog ? [1, 10] : [0, 1];
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (isLog) return [10 ** Math.floor(Math.log10(low) - 0.05), 10 ** Math.ceil(Math.log10(high) + 0.05)];
  const span = high - low;
  if (radius) {
    const most = Math.max(span / 2, Math.abs(high) * 1e-14);
    y.forEach((v, i) => {
      if (!Number.isFinite(v)) return;
      low = Math.min(low, v - Math.min(radius[i], most));
      high = Math.max(high, v + Math.min(radius[i], most));
    });
  }
  const room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}
