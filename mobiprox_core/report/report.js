"use strict";
// Draws the charts of the report from the JSON in the page. Text only ever enters the page as text nodes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { exact, levels, candidates, operators, settings, profile, replay } = data;
  const at = (id) => document.getElementById(id);

  // ------------------------------------------------------------------------------------------------------------- small tools

  function add(parent, tag, attributes = {}, text) {
    const node = document.createElementNS(parent.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  const scale = (from, to, low, high) => (value) => low + ((value - from) / (to - from || 1)) * (high - low);

  function ticks(from, to, about) {
    const rough = (to - from) / about || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
    const found = [];
    for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
    return found;
  }

  const digits = (value, count = 3) => (value === null || value === undefined ? "–" : +value.toPrecision(count) + "");
  const fixed = (value, places, unit) => (value === null || value === undefined ? "–" : value.toFixed(places) + unit);
  const percent = (share) => fixed(share === null || share === undefined ? null : 100 * share, 1, " %");
  const ms = (value) => (value === null || value === undefined ? "–" : value.toPrecision(3).replace(/e.*/, "") + " ms");

  function pairs(list) {
    const found = [];
    for (let i = 0; i < list.length; i += 2) found.push([list[i], list[i + 1]]);
    return found;
  }

  // One line per setting with the operators that take it: levels share few settings among many operators.
  function grouped(config) {
    const groups = new Map();
    for (const [op, setting] of pairs(config)) groups.set(setting, [...(groups.get(setting) || []), operators[op].name]);
    const lines = [...groups].map(([setting, names]) => {
      const shown = names.length > 6 ? [...names.slice(0, 5), `and ${names.length - 5} more`] : names;
      return [settings[setting], shown.join(", ")];
    });
    return lines.length > 9 ? [...lines.slice(0, 8), [`and ${lines.length - 8} more settings`, ""]] : lines;
  }

  // ----------------------------------------------------------------------------------------------------------------- tooltip

  const tip = at("tip");

  function showTip(x, y, title, lines) {
    tip.replaceChildren();
    add(tip, "strong", {}, title);
    for (const line of lines) {
      const row = add(tip, "div", {}, Array.isArray(line) ? line[0] : line);
      if (Array.isArray(line) && line[1]) add(row, "em", {}, "  " + line[1]);
    }
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
    tip.style.left = Math.max(6, left) + "px";
    tip.style.top = Math.max(6, Math.min(y + 12, innerHeight - box.height - 6)) + "px";
  }

  const hideTip = () => (tip.hidden = true);
  addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  addEventListener("scroll", hideTip, { passive: true });

  function explain(node, title, lines) {
    node.setAttribute("tabindex", "0");
    node.setAttribute("aria-label", [title, ...lines().flat()].join("; "));
    node.addEventListener("pointermove", (event) => showTip(event.clientX, event.clientY, title, lines()));
    node.addEventListener("pointerleave", hideTip);
    node.addEventListener("focus", () => {
      const box = node.getBoundingClientRect();
      showTip(box.right - 8, box.bottom - 4, title, lines());
    });
    node.addEventListener("blur", hideTip);
  }

  function legend(id, entries) {
    for (const [draw, text] of entries) {
      const entry = add(at(id), "span");
      entry.append(at("front").cloneNode(false));
      const icon = entry.firstChild;
      for (const name of ["id", "class", "role", "aria-label", "tabindex"]) icon.removeAttribute(name);
      icon.setAttribute("viewBox", "0 0 18 14");
      icon.setAttribute("aria-hidden", "true");
      draw(icon);
      add(entry, "span", {}, text);
    }
  }

  function choose(id, name, options, picked) {
    options.forEach(([value, text], index) => {
      const label = add(at(id), "label");
      const input = add(label, "input", { type: "radio", name, value });
      input.checked = index === 0;
      input.addEventListener("change", () => picked(value));
      add(label, "span", {}, text);
    });
  }

  function axes(svg, frame, x, y, xTicks, yTicks, xTitle, yTitle, xText = String, yText = String) {
    for (const tick of yTicks) {
      add(svg, "line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(tick), y2: y(tick) });
      add(svg, "text", { x: frame.left - 9, y: y(tick) + 4, "text-anchor": "end" }, yText(tick));
    }
    for (const tick of xTicks) {
      add(svg, "line", { class: "axis", x1: x(tick), x2: x(tick), y1: frame.bottom, y2: frame.bottom + 5 });
      add(svg, "text", { x: x(tick), y: frame.bottom + 20, "text-anchor": "middle" }, xText(tick));
    }
    add(svg, "line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom });
    add(svg, "text", { class: "axis-title", x: (frame.left + frame.right) / 2, y: frame.bottom + 42, "text-anchor": "middle" }, xTitle);
    const middle = (frame.top + frame.bottom) / 2;
    add(svg, "text", { class: "axis-title", transform: `translate(${frame.left - 48} ${middle}) rotate(-90)`, "text-anchor": "middle" }, yTitle);
  }

  const lost = (loss) => (["pp", "dB"].includes(data.unit) ? fixed(loss, 2, ` ${data.unit}`) : digits(loss) + (loss === null || loss === undefined ? "" : ` ${data.unit}`));
  const diamond = (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z`;

  // ------------------------------------------------------------------------------------------------------------ Pareto front

  function drawFront(measure) {
    const svg = at("front");
    svg.replaceChildren();
    const frame = { left: 66, right: 1020, top: 16, bottom: 372 };
    const base = exact.latency_ms ?? levels[0].latency_ms;
    const cost = measure === "speedup" ? (latency) => base / latency : (latency) => latency;
    const losses = levels.flatMap((l) => [l.qos_loss, l.test_qos_loss ?? l.qos_loss]);
    const highest = 1.12 * Math.max(data.budget ?? 0, 1.15 * Math.max(...losses), data.budget ? 0 : 0.5);
    const lowest = Math.min(0, ...losses) * 1.1 - 0.03 * highest;
    const inside = candidates.filter(([loss]) => loss <= highest && loss >= lowest);
    const costs = [...levels.map((l) => cost(l.latency_ms)), ...inside.map((c) => cost(c[1]))];
    const [least, most] = [Math.min(...costs), Math.max(...costs)];
    const margin = 0.05 * (most - least || 1);
    const x = scale(least - margin, most + margin, frame.left, frame.right);
    const y = scale(lowest, highest, frame.bottom, frame.top);
    const xText = measure === "speedup" ? (t) => t + "×" : String;
    axes(svg, frame, x, y, ticks(least - margin, most + margin, 9), ticks(lowest, highest, 6),
      measure === "speedup" ? "speedup over the exact network (right is faster)" : "latency of one inference, ms (left is faster)",
      data.unit === "pp" ? "loss, percentage points" : `loss, ${data.unit}`, xText);
    if (data.budget !== null && data.budget !== undefined) {
      add(svg, "line", { class: "budget", x1: frame.left, x2: frame.right, y1: y(data.budget), y2: y(data.budget) });
      const [textX, anchor] = measure === "speedup" ? [frame.left + 6, "start"] : [frame.right - 6, "end"];
      add(svg, "text", { class: "budget-text", x: textX, y: y(data.budget) - 7, "text-anchor": anchor }, `budget ${data.budget} ${data.unit}`);
    }
    for (const [loss, latency, config] of inside) {
      const dot = add(svg, "circle", { class: "candidate target", cx: x(cost(latency)), cy: y(loss), r: 4.5 });
      explain(dot, `Measured point: ${lost(loss)}, ${(base / latency).toFixed(2)}×`, () => [ms(latency), ...grouped(config)]);
    }
    const points = levels.map((l) => [x(cost(l.latency_ms)), y(l.qos_loss)]);
    add(svg, "path", { class: "front-line", d: "M" + points.map((p) => p.join(" ")).join("L") });
    levels.forEach((level, index) => {
      const [px, py] = points[index];
      if (level.latency_interval_ms) {
        const [one, other] = level.latency_interval_ms.map((latency) => x(cost(latency)));
        add(svg, "line", { class: "whisker", x1: one, x2: other, y1: py, y2: py });
      }
      if (level.test_qos_loss !== null && level.test_qos_loss !== undefined && level.level > 0) {
        const ty = y(level.test_qos_loss);
        add(svg, "line", { class: "drop", x1: px, x2: px, y1: py, y2: ty });
        add(svg, "path", { class: "test", d: diamond(px, ty, 5.5) });
      }
    });
    levels.forEach((level, index) => {
      const group = add(svg, "g", { class: "level target", transform: `translate(${points[index].join(" ")})` });
      add(group, "circle", { r: 9.5 });
      add(group, "text", { y: 4 }, level.level);
      explain(group, `Level ${level.level}: ${lost(level.qos_loss)}, ${level.speedup.toFixed(2)}×`, () => [
        `${ms(level.latency_ms)}; ${lost(level.test_qos_loss)} on test data` +
          (level.energy_mj === null || level.energy_mj === undefined ? "" : `; ${digits(level.energy_mj)} mJ`),
        ...(level.settings.length ? grouped(level.settings) : ["the exact network"]),
      ]);
    });
    const beyond = candidates.length - inside.length;
    at("front-note").textContent = beyond ? `${beyond} of ${candidates.length} measured points lose more than the chart shows.` : "";
  }

  legend("front-legend", [
    [(i) => add(i, "circle", { fill: "var(--main)", cx: 9, cy: 7, r: 6 }), "level, expected loss"],
    [(i) => add(i, "path", { class: "test", d: diamond(9, 7, 5) }), "the same level on test data"],
    ...(candidates.length ? [[(i) => add(i, "circle", { class: "candidate", cx: 9, cy: 7, r: 4.5 }), "other measured configuration"]] : []),
  ]);
  choose("front-choice", "front-measure", [["speedup", "speedup"], ["latency", "latency"]], drawFront);
  drawFront("speedup");

  // --------------------------------------------------------------------------------------------------------------- knob map

  // Okabe and Ito's colours, told apart by every kind of colour vision; letters in the cells say it again.
  const palette = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442"];
  const technique = (part) => part.split("(")[0].trim();
  const parts = (spelt) => spelt.split(" + ").filter((part) => part !== "exact");
  const used = new Set(levels.flatMap((l) => pairs(l.settings).flatMap(([, s]) => parts(settings[s]).map(technique))));
  const techniques = [...used].sort();
  const colour = (name) => palette[techniques.indexOf(name) % palette.length];
  const ink = (name) => (colour(name) === palette[0] ? "#fff" : "#000");
  const short = new Map();
  for (const name of techniques) {
    const plain = /\d/.test(name) && name.length < 6 ? name : name.split("_").map((word) => word[0]).join("");
    short.set(name, [...short.values()].includes(plain) ? name.slice(0, 5) : plain);
  }
  const profiled = new Map(profile.map((row) => [row[0] + " " + row[1], row]));
  const longest = Math.max(...operators.map((op) => op.latency_ms ?? 0));
  const everything = operators.reduce((sum, op) => sum + (op.latency_ms ?? 0), 0);
  const chosen = levels.map((l) => new Map(pairs(l.settings)));

  function cellTip(op, level, setting) {
    const row = profiled.get(op + " " + setting);
    const lines = [`${operators[op].name}, level ${levels[level].level}`];
    if (row && row[2] !== null) {
      const before = operators[op].latency_ms;
      lines.push(`${ms(row[2])} alone` + (before ? `, exact ${ms(before)} (${(before / row[2]).toFixed(2)}×)` : ""));
      if (row[4] !== null) lines.push(`divergence ${digits(row[4])} nats`);
    }
    return lines;
  }

  function drawKnobs(which) {
    const home = at("knobs");
    home.replaceChildren();
    const table = add(home, "table", { class: "knobs" });
    const head = add(add(table, "thead"), "tr");
    add(head, "th", { scope: "col", class: "row-head" }, "Operator");
    add(head, "th", { scope: "col", class: "row-head" }, everything ? "Share of exact latency" : "");
    for (const level of levels) {
      const th = add(head, "th", { scope: "col" }, level.level);
      add(th, "small", {}, level.speedup.toFixed(2) + "×");
    }
    const body = add(table, "tbody");
    operators.forEach((operator, op) => {
      if (which === "changed" && !chosen.some((c) => c.has(op))) return;
      const row = add(body, "tr");
      const macs = operator.macs ? `, ${(operator.macs / 1e6).toPrecision(3)} M multiply-adds` : "";
      add(row, "th", { scope: "row", title: `${operator.name}: ${operator.kind ?? "operator"}${macs}` }, operator.name);
      const share = add(row, "td", { class: "share" });
      if (everything && operator.latency_ms !== null) {
        add(add(share, "span", { class: "meter" }), "i", { style: `width:${((100 * operator.latency_ms) / longest).toFixed(1)}%` });
        add(share, "span", {}, percent(operator.latency_ms / everything));
      }
      levels.forEach((_, level) => {
        const setting = chosen[level].get(op);
        const cell = add(add(row, "td"), "div", { class: "cell" });
        if (setting === undefined) return;
        for (const part of parts(settings[setting])) {
          const name = technique(part);
          add(cell, "b", { style: `background:${colour(name)};color:${ink(name)}` }, short.get(name));
        }
        explain(cell, settings[setting], () => cellTip(op, level, setting));
      });
    });
  }

  legend("knobs-legend", [
    ...techniques.map((name) => [
      (i) => add(i, "rect", { width: 18, height: 14, rx: 3, fill: colour(name) }), `${name} (${short.get(name)})`,
    ]),
    [(i) => add(i, "rect", { width: 18, height: 14, rx: 3, fill: "var(--faint)" }), "exact"],
  ]);
  const changed = operators.filter((_, op) => chosen.some((c) => c.has(op))).length;
  if (changed && changed < operators.length) {
    choose("knobs-choice", "knobs-rows", [["changed", `${changed} operators that change`], ["all", `all ${operators.length}`]], drawKnobs);
  }
  drawKnobs(changed ? "changed" : "all");

  // ------------------------------------------------------------------------------------------------------------------ replay

  // "noise 0.3", "noise 0.5", ... are a quantity over time; other notes are words that hold for a while.
  function quantity(notes) {
    const found = notes.map((note) => /^(.*?)[\s:=]*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*([^\d]*)$/i.exec(note));
    if (!notes.length || found.some((f) => !f || f[1] !== found[0][1] || f[3] !== found[0][3])) return null;
    return { name: [found[0][1], found[0][3]].filter(Boolean).join(", "), values: found.map((f) => +f[2]) };
  }

  function drawReplay() {
    const svg = at("replay");
    const count = replay.level.length;
    const frame = { left: 120, right: 1020 };
    const x = scale(0, count, frame.left, frame.right);
    const width = x(1) - x(0);
    const label = (y, text) => add(svg, "text", { class: "axis-title", x: frame.left - 34, y, "text-anchor": "end" }, text);
    const row = (top, height, from, to, marks, text = String) => {
      const y = scale(from, to, top + height, top);
      for (const mark of marks) {
        add(svg, "line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(mark), y2: y(mark) });
        add(svg, "text", { x: frame.left - 8, y: y(mark) + 4, "text-anchor": "end" }, text(mark));
      }
      return y;
    };
    const steps = (values, y) => values.map((value, i) => `${i ? "V" : "M" + x(0) + " "}${y(value).toFixed(1)}H${x(i + 1).toFixed(1)}`).join("");

    let top = 10;
    const last = Math.max(1, levels.length - 1);
    const yLevel = row(top, 150, 0, last, ticks(0, last, 5).filter(Number.isInteger));
    label(top + 79, "level");
    const walk = steps(replay.level, yLevel);
    add(svg, "path", { class: "step-fill", d: `${walk}V${yLevel(0)}H${x(0)}Z` });
    add(svg, "path", { class: "step-line", d: walk });
    top += 176;

    const yConfidence = row(top, 62, 0, 1, [0, 0.5, 1]);
    label(top + 35, "confidence");
    const middle = replay.confidence.map((c, i) => `${x(i + 0.5).toFixed(1)} ${yConfidence(c).toFixed(1)}`);
    add(svg, "path", { class: "confidence", d: "M" + middle.join("L") });
    top += 84;

    const height = 24;
    label(top + 16, replay.accuracy === null ? "same" : "right");
    add(svg, "rect", { class: "right", x: frame.left, y: top, width: frame.right - frame.left, height });
    const strip = (share, name, under) => {
      const d = share.map((s, i) => {
        const from = height * (under ? under[i] : 0);
        return s > 0 ? `M${x(i).toFixed(2)} ${(top + height - from).toFixed(1)}v${(-height * s).toFixed(1)}h${Math.max(width, 0.6).toFixed(2)}v${(height * s).toFixed(1)}z` : "";
      });
      add(svg, "path", { class: name, d: d.join("") });
    };
    strip(replay.right.map((right, i) => Math.max(0, 1 - right - replay.spoilt[i])), "both", replay.spoilt);
    strip(replay.spoilt, "spoilt");
    top += height + 16;

    const trend = quantity(replay.notes);
    if (trend) {
      const least = Math.min(...trend.values, 0); // decibels of noise are below 0
      const most = least < 0 ? Math.max(...trend.values, least + 1) : Math.max(...trend.values) || 1;
      const y = row(top, 40, least, most, [least, most], (t) => digits(t, 2));
      label(top + 24, trend.name.length > 12 ? trend.name.slice(0, 11) + "…" : trend.name);
      add(svg, "path", { class: "trend", d: `${steps(trend.values, y)}V${y(least)}H${x(0)}Z` });
      top += 52;
    } else if (replay.notes.length) {
      label(top + 17, "note");
      for (let i = 0; i < count; ) {
        let end = i;
        while (end < count && replay.notes[end] === replay.notes[i]) end++;
        add(svg, "rect", { class: "trend", x: x(i), y: top, width: x(end) - x(i), height: 26 });
        if (x(end) - x(i) > 7 * replay.notes[i].length + 8) add(svg, "text", { x: (x(i) + x(end)) / 2, y: top + 17, "text-anchor": "middle" }, replay.notes[i]);
        i = end;
      }
      top += 38;
    }
    add(svg, "line", { class: "axis", x1: frame.left, x2: frame.right, y1: top, y2: top });
    for (const tick of ticks(0, replay.steps, 10)) {
      const px = x(tick / replay.stretch);
      add(svg, "line", { class: "axis", x1: px, x2: px, y1: top, y2: top + 5 });
      add(svg, "text", { x: px, y: top + 20, "text-anchor": "middle" }, tick);
    }
    add(svg, "text", { class: "axis-title", x: (frame.left + frame.right) / 2, y: top + 40, "text-anchor": "middle" }, "sample of the trace");
    svg.setAttribute("viewBox", `0 0 1040 ${top + 46}`);

    const cursor = add(svg, "line", { class: "cursor", y1: 8, y2: top, visibility: "hidden" });
    const cover = add(svg, "rect", { x: frame.left, y: 0, width: frame.right - frame.left, height: top, fill: "transparent" });
    cover.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const place = ((event.clientX - box.left) / box.width) * 1040;
      const i = Math.max(0, Math.min(count - 1, Math.floor((place - frame.left) / width)));
      cursor.setAttribute("x1", x(i + 0.5));
      cursor.setAttribute("x2", x(i + 0.5));
      cursor.setAttribute("visibility", "visible");
      const one = replay.stretch === 1;
      const first = i * replay.stretch;
      showTip(event.clientX, event.clientY, one ? `Sample ${first}` : `Samples ${first} to ${Math.min(first + replay.stretch, replay.steps) - 1}`, [
        one ? `level ${replay.level[i]}` : `level ${replay.level[i].toFixed(1)} on average`,
        one ? `predicted ${data.classes[replay.label[i]] ?? "class " + replay.label[i]}, confidence ${replay.confidence[i].toFixed(2)}` : `confidence ${replay.confidence[i].toFixed(2)}`,
        one ? (replay.right[i] ? "right" : replay.spoilt[i] ? "wrong, exact would be right" : "wrong, as exact would be") : `${percent(replay.right[i])} right`,
        ...(replay.notes.length ? [replay.notes[i]] : []),
      ]);
    });
    cover.addEventListener("pointerleave", () => {
      hideTip();
      cursor.setAttribute("visibility", "hidden");
    });
    if (replay.stretch > 1) at("replay-note").textContent = `Drawn in stretches of ${replay.stretch} samples, each by its mean.`;
    const judged = replay.accuracy === null || replay.accuracy === undefined ? "as the exact network" : "right";
    legend("replay-legend", [
      [(i) => add(i, "rect", { class: "right", width: 18, height: 14 }), judged],
      [(i) => add(i, "rect", { class: "spoilt", width: 18, height: 14 }), judged === "right" ? "wrong, exact would be right" : "another prediction"],
      ...(judged === "right" ? [[(i) => add(i, "rect", { class: "both", width: 18, height: 14 }), "wrong, as exact would be"]] : []),
    ]);
  }

  function drawStatic() {
    const svg = at("static");
    const frame = { left: 66, right: 484, top: 12, bottom: 274 };
    const labelled = replay.accuracy !== null && replay.accuracy !== undefined;
    const worth = (s) => (labelled ? s.accuracy : s.agreement);
    const values = [...replay.static.map(worth), worth(replay)];
    const costs = [...replay.static.map((s) => s.relative_cost), replay.relative_cost];
    const pad = (low, high, part) => [low - part * (high - low || 0.1), high + part * (high - low || 0.1)];
    const [left, right] = pad(Math.min(...costs), Math.max(...costs), 0.08);
    const [low, high] = pad(Math.min(...values), Math.max(...values), 0.12);
    const x = scale(left, right, frame.left, frame.right);
    const y = scale(low, high, frame.bottom, frame.top);
    const text = (t) => +(100 * t).toFixed(4) + "";
    axes(svg, frame, x, y, ticks(left, right, 6), ticks(low, high, 5).filter((t) => t <= 1), "cost, % of exact (left is cheaper)",
      labelled ? "accuracy, %" : "agreement with exact, %", text, text);
    for (const s of replay.static) {
      const group = add(svg, "g", { class: "level target", transform: `translate(${x(s.relative_cost)} ${y(worth(s))})` });
      add(group, "circle", { r: 9.5 });
      add(group, "text", { y: 4 }, s.level);
      explain(group, `Always level ${s.level}`, () => [`${percent(worth(s))} at ${percent(s.relative_cost)} of the exact cost`]);
    }
    const star = [...Array(10)].map((_, i) => {
      const r = i % 2 ? 5 : 12;
      return `${(x(replay.relative_cost) + r * Math.sin((i * Math.PI) / 5)).toFixed(1)} ${(y(worth(replay)) - r * Math.cos((i * Math.PI) / 5)).toFixed(1)}`;
    });
    const mark = add(svg, "path", { class: "star target", d: "M" + star.join("L") + "Z" });
    explain(mark, "Adaptive", () => [`${percent(worth(replay))} at ${percent(replay.relative_cost)} of the exact cost`]);
    add(svg, "text", { class: "budget-text", x: x(replay.relative_cost), y: y(worth(replay)) - 16, "text-anchor": "middle" }, "adaptive");
  }

  if (replay) {
    drawReplay();
    drawStatic();
  } else {
    at("replay-section").hidden = true;
  }

  // ------------------------------------------------------------------------------------------------------------- reliability

  function drawReliability(level) {
    const svg = at("reliability");
    svg.replaceChildren();
    const { counts, confidence, accuracy } = levels[level].reliability;
    const frame = { left: 66, right: 484, top: 12, bottom: 374 };
    const x = scale(0, 1, frame.left, frame.right);
    const y = scale(0, 1, frame.bottom, frame.top);
    const marks = [0, 0.2, 0.4, 0.6, 0.8, 1];
    axes(svg, frame, x, y, marks, marks, "confidence, %", "right, %", (t) => Math.round(100 * t) + "", (t) => Math.round(100 * t) + "");
    add(svg, "line", { class: "diagonal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) });
    const most = Math.max(...counts);
    counts.forEach((count, bin) => {
      if (!count) return;
      const [px, py] = [x(confidence[bin]), y(accuracy[bin])];
      add(svg, "line", { class: "gap", x1: px, x2: px, y1: py, y2: y(confidence[bin]) });
      const group = add(svg, "g", { class: "level target", transform: `translate(${px} ${py})` });
      add(group, "circle", { r: (3 + 9 * Math.sqrt(count / most)).toFixed(1) });
      explain(group, `${count} samples`, () => [`confidence ${percent(confidence[bin])}, right ${percent(accuracy[bin])}`]);
    });
  }

  const told = levels.map((level, i) => (level.reliability ? i : -1)).filter((i) => i >= 0);
  if (told.length) {
    const label = add(at("reliability-choice"), "label", {}, "Level ");
    const select = add(label, "select");
    for (const i of told) add(select, "option", { value: i }, levels[i].level);
    select.addEventListener("change", () => drawReliability(+select.value));
    select.value = told[told.length - 1];
    drawReliability(told[told.length - 1]);
  } else {
    at("reliability-section").hidden = true;
  }

  // ----------------------------------------------------------------------------------------------------------------- profile

  function drawProfile(op) {
    const home = at("profile");
    home.replaceChildren();
    const table = add(home, "table", { class: "profile numbers" });
    const before = operators[op].latency_ms;
    const rows = profile.filter((row) => row[0] === op).sort((one, other) => one[2] - other[2]);
    const columns = [
      ["Setting", (row) => settings[row[1]]],
      ["Latency", (row) => ms(row[2])],
      ["± 95 %", (row) => ms(row[3])],
      ["Speedup", (row) => (before && row[2] ? (before / row[2]).toFixed(2) + "×" : "–")],
      ["Divergence, nats", (row) => digits(row[4])],
      ["Loss", (row) => lost(row[5])],
      ["", (row) => (row[6] ? "does not pay" : "")],
    ].filter(([, text]) => rows.some((row) => !["–", ""].includes(text(row))));
    const head = add(add(table, "thead"), "tr");
    for (const [title] of columns) add(head, "th", { scope: "col" }, title);
    const body = add(table, "tbody");
    for (const row of rows) {
      const line = add(body, "tr", { class: row[6] ? "dropped" : "" });
      for (const [, text] of columns) add(line, "td", {}, text(row));
    }
  }

  const seen = [...new Set(profile.map((row) => row[0]))];
  if (seen.length) {
    const label = add(at("profile-choice"), "label", {}, "Operator ");
    const select = add(label, "select");
    for (const op of seen) add(select, "option", { value: op }, operators[op].name);
    select.addEventListener("change", () => drawProfile(+select.value));
    const slowest = seen.reduce((a, b) => ((operators[b].latency_ms ?? 0) > (operators[a].latency_ms ?? 0) ? b : a));
    select.value = slowest;
    drawProfile(slowest);
  } else {
    at("profile-section").hidden = true;
  }
  if (!changed) at("knobs-section").hidden = true;
})();
