// Sliders and number fields, one pair for each parameter. Sliders go by ratios where the parameter space is log.

/** Positions of a slider; fine enough that a step of the arrow keys is 1/500 of the range. */
const POSITIONS = 500;

/** Return the end of a range with no more digits than it needs. */
const rangeText = (x) => ((Math.abs(x) >= 1e-4 && Math.abs(x) < 1e6) || x === 0 ? minus(String(Number(x.toPrecision(6)))) : shortNumber(x));

/** The controls of all parameters: `mu` is where they stand, `changed` is called when it changes. */
class Controls {
  constructor(model, parent, changed) {
    this.model = model;
    this.changed = changed;
    this.mu = model.parameters.map((_, j) => this.valueAt(j, POSITIONS / 2));
    this.pairs = model.parameters.map((parameter, j) => this.pair(parameter, j, parent));
    this.mu.forEach((_, j) => this.show(j));
  }

  /** Return the value of parameter j at a position of its slider. */
  valueAt(j, position) {
    const { low, high } = this.model.parameters[j];
    const share = position / POSITIONS;
    if (share === 0 || share === 1) return share ? high : low;
    const value = this.model.scale === "log" ? low * (high / low) ** share : low + (high - low) * share;
    const digits = Math.ceil(Math.log10(Math.max(Math.abs(low), Math.abs(high), Math.abs(value)) / Math.abs(this.stepAt(j, value)))) + 1;
    // few digits, to be read and typed; a rounded value may leave the range
    const short = Number(value.toPrecision(Math.min(Math.max(digits, 3), 15)));
    return Math.min(Math.max(short, low), high);
  }

  /** Return about how far one step of the slider goes at a value. */
  stepAt(j, value) {
    const { low, high } = this.model.parameters[j];
    return this.model.scale === "log" ? (value * Math.log(high / low)) / POSITIONS : (high - low) / POSITIONS;
  }

  positionOf(j, value) {
    const { low, high } = this.model.parameters[j];
    return POSITIONS * (this.model.scale === "log" ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  }

  pair({ name, unit, low, high }, j, parent) {
    const ids = { label: `name-${j}`, range: `range-${j}`, slider: `slider-${j}`, field: `field-${j}` };
    const label = element("label", { id: ids.label, for: ids.field }, name);
    if (unit) label.append(" ", element("span", { class: "unit" }, `[${unit}]`));
    const field = element("input", { type: "number", id: ids.field, step: "any", min: low, max: high, "aria-describedby": ids.range });
    const slider = element("input", { type: "range", id: ids.slider, min: 0, max: POSITIONS, step: 1 });
    slider.setAttribute("aria-labelledby", ids.label);
    const ends = element("div", { class: "range", id: ids.range }, element("span", { class: "unseen" }, "from "), rangeText(low), element("span", { class: "unseen" }, " to "), element("span", {}, rangeText(high)));
    parent.append(element("div", { class: "parameter" }, element("div", { class: "head" }, label, field), slider, ends));
    slider.addEventListener("input", () => this.move(j, this.valueAt(j, slider.valueAsNumber), slider));
    field.addEventListener("input", () => this.move(j, field.valueAsNumber, field));
    return { slider, field };
  }

  move(j, value, source) {
    this.mu[j] = value;
    this.show(j, source);
    this.changed(j);
  }

  /** Put all parameters to the middle of their sliders. */
  center() {
    this.mu.forEach((_, j) => {
      this.mu[j] = this.valueAt(j, POSITIONS / 2);
      this.show(j);
    });
    this.changed();
  }

  /** Let slider and field of parameter j say where it stands; `source` is what the user moves. */
  show(j, source = null) {
    const { slider, field } = this.pairs[j];
    const { low, high, unit } = this.model.parameters[j];
    const value = this.mu[j];
    const good = low <= value && value <= high;
    if (source !== field) field.value = String(value);
    if (source !== slider && good) slider.value = String(this.positionOf(j, value));
    set(field, { "aria-invalid": String(!good) });
    if (good) set(slider, { "aria-valuetext": `${value}${unit ? ` ${unit}` : ""}` });
  }
}
