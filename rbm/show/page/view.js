// The page: an answer in every frame in which something moved, a curve when the worker has one, words when all rests.

/** Points of a curve while something moves, and when it rests. */
const [COARSE, FINE] = [121, 481];
/** Milliseconds without a change after which all rests. */
const REST = 350;

function start() {
  let model;
  const data = JSON.parse(byId("model").textContent);
  try {
    model = rbm.readModel(data);
  } catch (error) {
    say(error.message);
    return;
  }
  byId("main").hidden = false;
  new View(model, data);
}

/** Show one sentence about what is wrong, or nothing. */
function say(text) {
  const place = byId("message");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

class View {
  constructor(model, data) {
    this.model = model;
    this.last = null; // the curve that is drawn, and what it was asked for
    this.frame = 0;
    this.rest = 0;
    this.controls = new Controls(model, byId("parameters"), (j) => this.moved(j));
    this.answers = new Answers(model, byId("outputs"), byId("solution"));
    this.chart = new Chart(byId("chart"));
    this.curves = new Curves(data, model, (...made) => this.received(...made));
    this.introduce();
    this.choices();
    byId("middle").addEventListener("click", () => this.controls.center());
    new ResizeObserver(() => this.draw()).observe(byId("chart"));
    this.update();
    performance.mark("first answer"); // for whoever measures; nothing on the page reads it
    this.ask(COARSE);
    this.settle();
  }

  introduce() {
    const { model } = this;
    const of = model.unknowns ? ` for ${model.unknowns} unknowns of the full model` : "";
    const method = model.projection === "galerkin" ? "Galerkin projection" : "least squares";
    byId("about").textContent = `A reduced model with ${model.size} basis vectors${of}, ${model.complex ? "complex" : "real"} numbers, ${method}.`;
    const notes = model.left_out.map(({ name, kind }) => `The output ${name} (${kind}) is not on this page.`);
    if (model.measured) notes.push(`Measured, not proved: ${model.measured}.`);
    if (["given", "sampled"].includes(model.evidence)) notes.push(`The stability bound is ${model.evidence}, not proved: where it is too large, "error at most" is too small.`);
    byId("notes").textContent = notes.join(" ");
  }

  /** Fill the two lists of what is drawn, and over what. */
  choices() {
    const options = this.model.outputs.flatMap((output, k) =>
      isComplexOutput(this.model, output)
        ? [[`|${output.name}|`, k, "modulus"], [`Re ${output.name}`, k, "re"], [`Im ${output.name}`, k, "im"]]
        : [[output.name, k, "re"]],
    );
    this.options = [...options, ["error bound of the solution", -1, "bound"]];
    byId("shown").append(...this.options.map(([name], i) => element("option", { value: i }, name)));
    byId("over").append(...this.model.parameters.map(({ name }, j) => element("option", { value: j }, name)));
    byId("shown").addEventListener("change", () => this.draw());
    byId("over").addEventListener("change", () => {
      this.ask(FINE);
      this.settle();
    });
  }

  get over() {
    return Number(byId("over").value);
  }

  get shown() {
    const [name, output, part] = this.options[Number(byId("shown").value)];
    return { name, output, part };
  }

  /** Called for every change of a parameter; the work is done once in the next frame. */
  moved(j) {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.update());
    if (j !== this.over) this.ask(COARSE);
    this.settle();
  }

  /** Answer, and show the answer. */
  update() {
    this.frame = 0;
    const { mu } = this.controls;
    const started = performance.now();
    try {
      this.found = rbm.answer(this.model, mu);
      this.milliseconds = performance.now() - started;
      this.answers.show(this.found, this.ranges);
      say("");
    } catch (error) {
      this.found = null;
      this.answers.clear();
      say(`No answer: ${error.message}.`);
    }
    this.mark();
  }

  /** Ask for a curve, unless a parameter is outside its range. */
  ask(count) {
    const { mu } = this.controls;
    if (!this.model.parameters.every(({ low, high }, j) => j === this.over || (low <= mu[j] && mu[j] <= high))) return;
    byId("chart").classList.toggle("stale", this.last !== null && this.last.asked.parameter !== this.over);
    this.curves.ask(mu, this.over, count);
  }

  /** When nothing moved for a while: a finer curve, the table and the summary. */
  settle() {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      const { last, controls } = this;
      const known = last && last.asked.parameter === this.over && last.asked.count === FINE;
      if (!known || last.asked.mu.some((x, j) => j !== this.over && x !== controls.mu[j])) this.ask(FINE);
      byId("summary").textContent = this.found ? this.answers.sentence(this.found, controls.mu) : "There is no answer.";
      this.tell();
    }, REST);
  }

  received(curve, asked, milliseconds) {
    if (asked.parameter !== this.over) return;
    this.last = { curve, asked, milliseconds };
    byId("chart").classList.remove("stale");
    this.ranges = curve.outputs.map((output, k) => {
      const part = isComplexOutput(this.model, this.model.outputs[k]) ? "modulus" : "re";
      const values = [...output.re].map((re, i) => drawn([re, output.im[i]], part)).filter(Number.isFinite);
      return values.length ? [Math.min(...values), Math.max(...values)] : null;
    });
    this.draw();
    if (this.found) this.answers.show(this.found, this.ranges);
    if (asked.count === FINE) this.tell();
  }

  /** Draw the curve that is known. */
  draw() {
    if (!this.last) return;
    const { output, part, name } = this.shown;
    const { curve, asked } = this.last;
    const parameter = this.model.parameters[asked.parameter];
    const unit = parameter.unit ? ` [${parameter.unit}]` : "";
    const to = { ...parameter, nameX: parameter.name + unit, logX: this.model.scale === "log", logY: output < 0 };
    if (output < 0) this.chart.draw({ x: curve.x, y: curve.bound, floor: curve.floor, radius: null }, to);
    else {
      const { re, im, bound } = curve.outputs[output];
      this.chart.draw({ x: curve.x, y: re.map((x, i) => drawn([x, im[i]], part)), radius: bound, floor: null }, to);
    }
    const explained = output < 0 ? "Line: error bound of the solution, in the norm of the model. Dashed: its floor, below which rounding hides the error." : "Line: reduced model. Band: where the full model is, certified; often too narrow to be seen. Dot: the sliders.";
    byId("key").textContent = explained;
    this.chart.describe(`${name} over ${parameter.name}`, "");
    this.mark();
    this.tell();
  }

  /** Put the dot where the sliders stand. */
  mark() {
    if (!this.last) return;
    const x = this.controls.mu[this.last.asked.parameter];
    const { output, part } = this.shown;
    if (!this.found) this.chart.mark(x, NaN, 0);
    else if (output < 0) this.chart.mark(x, this.found.bound, 0);
    else this.chart.mark(x, drawn(this.found.outputs[output].value, part), this.found.outputs[output].bound);
  }

  /** Say in words and numbers what the chart shows: its text alternative, and the table below it. */
  tell() {
    if (!this.last) return;
    const { curve, asked, milliseconds } = this.last;
    const { output, part, name } = this.shown;
    const parameter = this.model.parameters[asked.parameter];
    const values = output < 0 ? curve.bound : curve.outputs[output].re.map((x, i) => drawn([x, curve.outputs[output].im[i]], part));
    const bounds = output < 0 ? null : curve.outputs[output].bound;
    const good = [...values].filter(Number.isFinite);
    const gaps = values.length - good.length;
    const [low, high] = [Math.min(...good), Math.max(...good)];
    const text = good.length ? `From ${shortNumber(low)} to ${shortNumber(high)} for ${parameter.name} from ${shortNumber(parameter.low)} to ${shortNumber(parameter.high)}` : "There is no certified answer on this curve";
    this.chart.describe(`${name} over ${parameter.name}`, `${text}${gaps ? `; ${gaps} of ${values.length} points have no certified answer` : ""}.`);
    const rows = Array.from({ length: 11 }, (_, k) => Math.round((k * (values.length - 1)) / 10)).map((i) => {
      const known = Number.isFinite(values[i]);
      const texts = known && bounds ? outputTexts([values[i], 0], bounds[i], false, this.model.outputs[output].unit) : { value: known ? shortNumber(values[i], 3, true) : "none", bound: "none" };
      const cells = bounds ? [texts.value, texts.bound] : [texts.value];
      return element("tr", {}, element("th", { scope: "row" }, shortNumber(curve.x[i], 4)), ...cells.map((cell) => element("td", { class: "number" }, cell)));
    });
    const heads = [parameter.name + (parameter.unit ? ` [${parameter.unit}]` : ""), name, ...(bounds ? ["error at most"] : [])];
    const table = byId("numbers");
    table.tHead.replaceChildren(element("tr", {}, ...heads.map((head, k) => element("th", { scope: "col", class: k ? "number" : "" }, head))));
    table.tBodies[0].replaceChildren(...rows);
    const one = this.milliseconds === undefined ? "" : `Last answer: ${shortNumber(this.milliseconds, 2)} ms`;
    byId("cost").textContent = `${one}; curve of ${curve.x.length} points: ${shortNumber(milliseconds, 2)} ms.`;
  }
}
