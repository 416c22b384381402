// The table of outputs and the list about the solution, filled anew in every frame.

/** Whether the values of an output can have an imaginary part. */
const isComplexOutput = (model, { kind, real }) => model.complex && kind !== "quadratic" && !real;

class Answers {
  constructor(model, outputs, solution) {
    this.model = model;
    this.rows = model.outputs.map((output) => this.row(output, outputs.tBodies[0]));
    outputs.hidden = !this.rows.length;
    this.entries = {};
    for (const [key, name] of [["bound", "error of the solution at most"], ["parts", "that is"], ["state", "estimate"], ["beta", "stability bound"]]) {
      this.entries[key] = element("dd");
      solution.append(element("dt", {}, name), this.entries[key]);
    }
  }

  row(output, body) {
    const cells = { value: element("td", { class: "number" }), bound: element("td", { class: "number" }) };
    const line = shape("path", { class: "axis", d: "M2 8H118" });
    const bar = shape("path", { class: "bar" });
    const dot = shape("circle", { class: "dot", r: 3.5, cy: 8 });
    const strip = shape("svg", { viewBox: "0 0 120 16", "aria-hidden": "true" }, line, bar, dot);
    body.append(element("tr", {}, element("th", { scope: "row" }, output.name), cells.value, cells.bound, element("td", { class: "strip" }, strip)));
    return { ...cells, bar, dot, isComplex: isComplexOutput(this.model, output), unit: output.unit };
  }

  /** Show an answer; `ranges` are [low, high] of what is drawn of each output, where a curve is known. */
  show(found, ranges) {
    found.outputs.forEach(({ value, bound }, k) => {
      const row = this.rows[k];
      const texts = outputTexts(value, bound, row.isComplex, row.unit);
      row.value.textContent = texts.value;
      row.bound.textContent = texts.bound;
      this.place(row, drawn(value, row.isComplex ? "modulus" : "re"), bound, ranges?.[k]);
    });
    const { entries } = this;
    const relative = found.size > 0 ? `, ${shortNumber((100 * found.bound) / found.size, 2, true)} % of its size` : "";
    entries.bound.textContent = `${shortNumber(found.bound, 3, true)} in the norm of the model${relative}`;
    entries.parts.textContent = `value ${shortNumber(found.value)} + floor ${shortNumber(found.floor, 3, true)}`;
    entries.state.textContent = found.resolved ? "resolved: right to 10 % or better" : "not resolved: rounding may be all of it; the bound holds";
    entries.state.className = found.resolved ? "" : "weak";
    entries.beta.textContent = shortNumber(-found.beta, 3, true).slice(1); // a lower bound is rounded down
  }

  /** Put the dot of a row where its value lies between the ends of its curve. */
  place(row, value, bound, range) {
    set(row.dot, { visibility: "visible" });
    if (!range || !(range[1] > range[0])) {
      set(row.dot, { cx: 60 });
      set(row.bar, { d: "" });
      return;
    }
    const at = (v) => Math.min(Math.max(4 + (112 * (v - range[0])) / (range[1] - range[0]), 2), 118);
    set(row.dot, { cx: at(value).toFixed(1) });
    const [low, high] = [at(value - bound).toFixed(1), at(value + bound).toFixed(1)];
    set(row.bar, { d: `M${low} 8H${high}M${low} 4v8M${high} 4v8` });
  }

  /** Show that there is no answer. */
  clear() {
    for (const row of this.rows) {
      row.value.textContent = "none";
      row.bound.textContent = "none";
      set(row.bar, { d: "" });
      set(row.dot, { visibility: "hidden" });
    }
    for (const entry of Object.values(this.entries)) {
      entry.textContent = "none";
      entry.className = "";
    }
  }

  /** Return the answer in one sentence, for screen readers. */
  sentence(found, mu) {
    const at = this.model.parameters.map(({ name, unit }, j) => `${name} ${mu[j]}${unit ? ` ${unit}` : ""}`).join(", ");
    const outputs = this.model.outputs.map(({ name }, k) => `${name} ${this.rows[k].value.textContent}, error at most ${this.rows[k].bound.textContent}`);
    return [`At ${at}`, ...outputs, `error of the solution at most ${shortNumber(found.bound, 3, true)}`].join(". ");
  }
}

/** Return what is drawn of a value [re, im]: "re", "im" or "modulus". */
function drawn([re, im], part) {
  if (part === "modulus") return modulus(re, im);
  return part === "re" ? re : im;
}
