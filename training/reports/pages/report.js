// Fills and filters the lists of errors. What it builds for one error is what error_list.py writes for the first ones.
"use strict";

const PAGE = 50;
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|[\ud800-\udfff]/gu;

const visible = text => text.replace(CONTROLS, sign =>
  "\u2039U+" + sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u203a");

const element = (name, classes, ...inside) => {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...inside);
  return made;
};

class ErrorList {
  constructor(section) {
    this.section = section;
    this.data = JSON.parse(section.querySelector("script.data").textContent);
    this.form = section.querySelector("form");
    this.list = section.querySelector("ol.list");
    this.more = section.querySelector("button.more");
    this.status = section.querySelector(".status");
    this.picked = null;
    this.searched = null;
    this.waiting = null;
    if (!this.data.errors.length) return;
    this.form.hidden = false;
    this.form.addEventListener("input", event => {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.apply(), event.target.type === "search" ? 150 : 0);
    });
    this.form.addEventListener("submit", event => event.preventDefault());
    this.form.addEventListener("reset", () => setTimeout(() => this.pick(null)));
    this.more.addEventListener("click", () => this.showMore());
    this.apply();
  }

  field(name) {
    return this.form.querySelector(`#${this.section.id}-${name}`);
  }

  value(name) {
    const field = this.field(name);
    return field ? field.value : "";
  }

  pick(picked) {
    this.picked = picked;
    const told = this.form.querySelector(".picked");
    told.hidden = !picked;
    told.firstElementChild.textContent = picked ? "Only " + picked.says : "";
    this.apply();
  }

  choose(picked) {
    this.form.querySelectorAll("select, input").forEach(field => { field.value = field.id.endsWith("-order") ? "text" : ""; });
    if (this.field("layer")) this.field("layer").value = picked.layer;
    this.field("kind").value = picked.kind;
    this.pick(picked.gold || picked.predicted ? picked : null);
    const heading = this.section.querySelector("h2");
    heading.scrollIntoView();
    heading.focus({preventScroll: true});
  }

  apply() {
    clearTimeout(this.waiting); // a search still waiting would take the focus from a list already up to date
    this.narrowLabels();
    const keeps = this.conditions();
    this.found = [];
    this.data.errors.forEach((row, place) => {
      if (keeps.every(keep => keep(row))) this.found.push(place);
    });
    if (this.value("order") === "sure") {
      const sure = place => this.data.errors[place][5].at(-1)[0]?.[3] ?? -1;
      this.found.sort((one, other) => sure(other) - sure(one) || one - other);
    }
    this.list.replaceChildren();
    this.shown = 0;
    this.extend();
  }

  narrowLabels() {
    const layer = this.value("layer"), field = this.field("label");
    field.querySelectorAll("optgroup").forEach((group, place) => {
      group.disabled = group.hidden = layer !== "" && layer !== String(place);
    });
    if (layer !== "" && field.value && !field.value.startsWith(layer + "-")) field.value = "";
  }

  conditions() {
    const keeps = [];
    const equal = (name, column) => {
      const wanted = this.value(name);
      if (wanted !== "") keeps.push(row => row[column] === Number(wanted));
    };
    equal("layer", 0);
    equal("kind", 1);
    equal("change", 2);
    if (this.value("label")) {
      const [layer, label] = this.value("label").split("-").map(Number);
      keeps.push(row => row[0] === layer && row[5].some(marks => marks.some(mark => mark[2] === label)));
    }
    if (this.picked) {
      const labelled = (marks, wanted) => !wanted || (wanted === "n" ? !marks.length : marks[0]?.[2] === Number(wanted));
      keeps.push(row => labelled(row[5][0], this.picked.gold) && labelled(row[5][1], this.picked.predicted));
    }
    const words = this.value("text").trim().toLowerCase();
    if (words) {
      const places = new Set();
      this.texts().forEach((text, place) => { if (text.includes(words)) places.add(place); });
      keeps.push(row => places.has(row[3]));
    }
    return keeps;
  }

  texts() {
    this.searched ??= this.data.sentences.map(([document, , text]) => {
      const [id, group] = this.data.documents[document];
      return [text, id, group ?? ""].join("\n").toLowerCase();
    });
    return this.searched;
  }

  extend() {
    const next = this.found.slice(this.shown, this.shown + PAGE).map(place => this.item(this.data.errors[place]));
    this.list.append(...next);
    this.shown += next.length;
    const all = this.data.errors.length, some = this.found.length;
    const of = some === all ? `${all.toLocaleString("en")}` : `${some.toLocaleString("en")} found, of ${all.toLocaleString("en")} in all`;
    this.status.textContent = some ? `${this.shown.toLocaleString("en")} shown of ${of}` : `None of ${all.toLocaleString("en")} errors is like this.`;
    this.more.hidden = this.shown === some;
    this.more.textContent = `Show ${Math.min(PAGE, some - this.shown)} more`;
    return next[0];
  }

  showMore() {
    const first = this.extend();
    if (!first) return;
    const heading = first.querySelector("h3");
    heading.tabIndex = -1;
    heading.focus();
  }

  item([layer, kind, change, sentence, rounds, sides]) {
    const head = element("h3");
    if (change !== null) head.append(element("span", "badge change", visible(this.data.changes[change])), " ");
    head.append(element("span", "badge", visible(this.data.kinds[kind])), " ");
    head.append(element("span", "layer", visible(this.data.layers[layer].name)));
    const said = element("dl", "sides", ...sides.map((marks, side) => this.side(layer, sentence, side, marks)));
    const text = element("p", "sentence");
    text.dir = "auto";
    text.append(...this.sentence(layer, sentence, sides));
    const where = element("p", "where", ...this.where(layer, this.data.documents[this.data.sentences[sentence][0]], rounds));
    return element("li", "error", head, said, text, where);
  }

  side(layer, sentence, side, marks) {
    const {labels, whole} = this.data.layers[layer];
    const [, offset, text] = this.data.sentences[sentence];
    const letters = Array.from(text);
    const said = element("dd");
    marks.forEach(([start, end, label, score], place) => {
      if (place) said.append(", ");
      said.append(element("bdi", `chip l${layer}-${label}`, visible(labels[label])));
      if (start !== null && !whole) {
        const words = letters.slice(Math.max(0, start - offset), Math.max(0, end - offset)).join("");
        said.append(" ", element("bdi", "", `“${visible(words)}”`));
      }
      if (score !== null) said.append(" ", element("span", "score", score.toFixed(2)));
    });
    if (!marks.length) said.append(element("span", "nothing", "nothing"));
    return element("div", "", element("dt", "", visible(this.data.sides[side])), said);
  }

  sentence(layer, sentence, sides) {
    const {labels, whole} = this.data.layers[layer];
    const [, offset, text] = this.data.sentences[sentence];
    if (whole) return [visible(text)];
    const letters = Array.from(text), said = new Map();
    sides.forEach((marks, side) => marks.forEach(([start, end, label]) => {
      const place = [Math.max(0, start - offset), Math.min(letters.length, end - offset), label];
      const key = place.join();
      if (!said.has(key)) said.set(key, {place, sides: []});
      said.get(key).sides.push(side);
    }));
    const over = [...said.values()].sort((one, other) => one.place[0] - other.place[0] || other.place[1] - one.place[1]);
    const cuts = [...new Set([0, letters.length, ...over.flatMap(({place}) => place.slice(0, 2))])].sort((one, other) => one - other);
    const pieces = [];
    for (let place = 0; place + 1 < cuts.length; place++) pieces.push(...this.run(layer, labels, letters, over, cuts[place], cuts[place + 1]));
    return pieces;
  }

  run(layer, labels, letters, over, start, end) {
    const inside = over.filter(({place}) => place[0] <= start && end <= place[1]).reverse();
    let piece = visible(letters.slice(start, end).join(""));
    for (const {place, sides} of inside) {
      const signs = (sides.includes(0) ? " gold" : "") + (sides.some(side => side) ? " said" : "");
      piece = element("span", `mark l${layer}-${place[2]}${signs}`, piece);
    }
    const tags = inside.filter(({place}) => place[1] === end).map(({place, sides}) => {
      const names = visible(sides.map(side => this.data.sides[side]).join(", "));
      return element("span", `tag l${layer}-${place[2]}`, `\u00a0${names}\u00a0${visible(labels[place[2]])}\u00a0`);
    });
    return [piece, ...tags];
  }

  where(layer, [id, group, task, link, target], rounds) {
    const said = [[element("bdi", "", visible(id))]];
    if (group !== null && group !== id) said.push([element("bdi", "", visible(group))]);
    if (target !== null && this.data.layers[layer].targeted) said.push(["target: ", element("bdi", "", visible(target))]);
    if (this.data.rounds > 1) said.push([`made in ${rounds} of ${this.data.rounds} rounds`]);
    if (link !== null) {
      const anchor = element("a", "", `task ${visible(String(task))} in Label Studio`);
      anchor.href = link;
      anchor.rel = "noreferrer";
      said.push([anchor]);
    } else if (task !== null) said.push([`task ${visible(String(task))}`]);
    return said.flatMap((parts, place) => place ? [" · ", ...parts] : parts);
  }
}

const lists = [...document.querySelectorAll("section.errors")].map(section => new ErrorList(section));

// Numbers in tables that lead to their errors become buttons.
document.querySelectorAll("[data-pick]").forEach(number => {
  if (!lists.length || !lists[0].data.errors.length) return;
  const [layer, kind, gold, predicted] = number.dataset.pick.split(",");
  const button = element("button", "pick", number.textContent);
  button.type = "button";
  button.setAttribute("aria-label", `${number.textContent}: ${number.dataset.says}; show these errors`);
  button.addEventListener("click", () => lists[0].choose({layer, kind, gold, predicted, says: number.dataset.says}));
  number.replaceWith(button);
});
