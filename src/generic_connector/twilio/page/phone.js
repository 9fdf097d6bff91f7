// The phone page: a caller's phone, the TwiML that the call runs, an agent's desk, and the wire.
//
// All that happens comes from the server as events (`/desk/events`), masked; the page shows it and decides nothing.
// All that the page does is a POST: dial, keys, hang up, and the agent's requests. A key that is pressed goes to the
// server and is shown as the server hears it, which while somebody pays is an `x`. The page keeps no key.
//
// Text reaches the page through `textContent` alone, never as HTML: much of it was written by strangers.

// --- Elements --------------------------------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

/** An element with attributes and children. A child is an element, or a text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Say something in an element, unless it says so already: a live region must not say things twice. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const calmly = window.matchMedia("(prefers-reduced-motion: reduce)");
const narrow = window.matchMedia("(max-width: 759px)");

// --- Words -----------------------------------------------------------------------------------------------------------

const STEPS = {
  "payment-card-number": "card number",
  "expiration-date": "expiry date",
  "security-code": "security code",
  "postal-code": "postal code",
  "bank-routing-number": "routing number",
  "bank-account-number": "account number",
  "payment-processing": "processing",
};

const FIELDS = {
  "payment-card-number": "PaymentCardNumber",
  "expiration-date": "ExpirationDate",
  "security-code": "SecurityCode",
  "postal-code": "PaymentCardPostalCode",
  "bank-routing-number": "BankRoutingNumber",
  "bank-account-number": "BankAccountNumber",
};

const RESULTS = {
  "too-many-failed-attempts": "Too many attempts",
  "payment-connector-error": "Not paid",
  "caller-interrupted-with-star": "Stopped with star",
  "caller-hung-up": "The caller hung up",
  "validation-error": "Not valid",
  "internal-error": "Interrupted",
};

/** Results that somebody wanted: they are no errors. A cancel may have none at all. */
const STOPPED = new Set(["caller-interrupted-with-star", "caller-hung-up", undefined]);

const CALL_STATES = {
  queued: "Calling",
  "in-progress": "On the line",
  completed: "Call ended",
  failed: "Call failed",
  canceled: "Call canceled",
};

const capitalized = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** The step of a capture: a matcher asks for the same step once more. */
const stepOf = (capture) => (capture ?? "").replace(/-matcher$/, "");

// --- The desk --------------------------------------------------------------------------------------------------------

/** What the server has: connectors, switches, presets. */
let desk = { connectors: [], switches: [], presets: [], calls: [] };

/** The call that is shown. A new one takes its place. */
let call = newCall(null);
const seenCalls = new Set();

function newCall(sid) {
  return {
    sid,
    status: null,
    beganAt: null,
    endedAt: null,
    firstAt: null,
    step: null,
    keyed: "",
    documents: [],
    shown: -1,
    ordered: "",
    payment: null,
    opening: null,
    rows: new Map(),
  };
}

const isOn = () => call.status === "queued" || call.status === "in-progress";

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });
  const text = await answer.text();
  let json = {};
  try {
    json = text ? JSON.parse(text) : {};
  } catch {
    json = {};
  }
  return { ok: answer.ok, status: answer.status, body: json };
}

const GONE = 404;
const UNREACHABLE = "The desk does not answer. Is generic-connector still running?";

/** The desk knows nothing of this call: it was started again since. */
function lost(sid) {
  if (call.sid === sid && isOn()) events.ended({ status: "completed" }, Date.now());
}

// --- Keypad ----------------------------------------------------------------------------------------------------------

const KEYS = [
  ["1", ""], ["2", "ABC"], ["3", "DEF"],
  ["4", "GHI"], ["5", "JKL"], ["6", "MNO"],
  ["7", "PQRS"], ["8", "TUV"], ["9", "WXYZ"],
  ["*", ""], ["0", "+"], ["#", ""],
];
const KEY_NAMES = { "*": "star", "#": "pound" };
const KEY_TIME_MS = 110;
const FILL_TIME_MS = 75;

let unsent = "";
let isSending = false;

function drawKeypad() {
  for (const [key, letters] of KEYS) {
    const button = make(
      "button",
      { type: "button", class: "key", "data-key": key, "aria-label": KEY_NAMES[key] ?? key },
      make("b", {}, key === "*" ? "∗" : key),
      make("small", {}, letters),
    );
    button.addEventListener("click", () => press(key));
    byId("keypad").append(button);
  }
}

/** A key goes down, sounds, and is sent. */
function press(key) {
  const button = document.querySelector(`.key[data-key="${CSS.escape(key)}"]`);
  button.classList.add("down");
  window.setTimeout(() => button.classList.remove("down"), KEY_TIME_MS);
  sound(key);
  window.speechSynthesis?.cancel();
  if (call.sid === null || !isOn()) return;
  unsent += key;
  void sendKeys();
}

/** Send what was pressed, in order, one request at a time. */
async function sendKeys() {
  if (isSending) return;
  isSending = true;
  try {
    while (unsent !== "") {
      const keys = unsent;
      unsent = "";
      const sid = call.sid;
      const answer = await post(`/desk/calls/${sid}/keys`, { keys });
      if (answer.status === GONE) lost(sid);
    }
  } catch {
    unsent = "";
    say(byId("trouble"), UNREACHABLE);
  } finally {
    isSending = false;
  }
}

/** The computer's keyboard is the keypad too, unless something is being written. */
function typed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.closest("input, textarea, select")) return;
  if (/^[0-9*#]$/.test(event.key)) {
    event.preventDefault();
    press(event.key);
  }
}

// --- Sound -----------------------------------------------------------------------------------------------------------

const ROWS_HZ = [697, 770, 852, 941];
const COLUMNS_HZ = [1209, 1336, 1477];
const TONE_S = 0.13;
const VOLUME = 0.08;

let audio = null;

/** The two tones of a key, as every phone has them. */
function sound(key) {
  if (byId("tones").getAttribute("aria-pressed") !== "true") return;
  audio ??= new AudioContext();
  const place = KEYS.findIndex(([one]) => one === key);
  const volume = new GainNode(audio, { gain: VOLUME });
  volume.gain.setTargetAtTime(0, audio.currentTime + TONE_S, 0.012);
  volume.connect(audio.destination);
  for (const frequency of [ROWS_HZ[Math.floor(place / 3)], COLUMNS_HZ[place % 3]]) {
    const tone = new OscillatorNode(audio, { frequency });
    tone.connect(volume);
    tone.start();
    tone.stop(audio.currentTime + TONE_S + 0.1);
  }
}

function speak(text, language) {
  if (byId("voice").getAttribute("aria-pressed") !== "true" || !window.speechSynthesis) return;
  const utterance = new SpeechSynthesisUtterance(text);
  if (language) utterance.lang = language;
  window.speechSynthesis.speak(utterance);
}

/** A button that is on or off, and remembers which. */
function toggle(id, changed = () => {}) {
  const button = byId(id);
  const turn = (isPressed) => {
    button.setAttribute("aria-pressed", String(isPressed));
    changed(isPressed);
  };
  turn(localStorage.getItem(id) === "true");
  button.addEventListener("click", () => {
    const isPressed = button.getAttribute("aria-pressed") !== "true";
    localStorage.setItem(id, String(isPressed));
    turn(isPressed);
  });
}

// --- The phone's screen ----------------------------------------------------------------------------------------------

const CAPTIONS_MAX = 6;

function drawPhone() {
  const isLive = isOn();
  byId("handset").dataset.state = isLive ? "on" : "idle";
  byId("handset").toggleAttribute("data-asks", isLive && call.step !== null && call.step !== "payment-processing");
  byId("hook").setAttribute("aria-label", isLive ? "Hang up" : "Call");
  say(byId("call-state"), CALL_STATES[call.status] ?? "Ready");
  byId("run").disabled = isLive;
  byId("agent-call").hidden = isLive;
  byId("agent-start").disabled = call.status !== "in-progress";
  drawTimer();
  drawFill();
}

function drawTimer() {
  const until = call.endedAt ?? Date.now();
  const seconds = call.beganAt === null ? 0 : Math.max(0, Math.floor((until - call.beganAt) / 1000));
  const two = (number) => String(number).padStart(2, "0");
  byId("timer").textContent = `${two(Math.floor(seconds / 60))}:${two(seconds % 60)}`;
}

function caption(text, kind = "") {
  const captions = byId("caption");
  captions.querySelector(".caption-hint")?.remove();
  captions.append(make("p", { class: kind }, text));
  while (captions.childElementCount > CAPTIONS_MAX) captions.firstElementChild.remove();
  captions.scrollTop = captions.scrollHeight;
}

/** The caller is asked for a step now, or for nothing. */
function ask(step, words) {
  call.step = step;
  const isAsked = Boolean(step) && step in STEPS;
  say(byId("asked"), isAsked ? (words ?? STEPS[step]) : "");
  drawPhone();
}

function showKeyed(shown) {
  if (shown === "") keysRow = null;
  call.keyed = shown;
  byId("keyed").textContent = shown;
  const count = shown.length;
  say(byId("keyed-count"), count === 0 ? "" : `${count} ${count === 1 ? "key" : "keys"}`);
}

// --- Keys for who has no card at hand --------------------------------------------------------------------------------

/** Twilio's published test numbers. They are nobody's, and stand on no page: only their names do. */
function fillings(step) {
  const nextYear = String((new Date().getFullYear() + 1) % 100).padStart(2, "0");
  switch (step) {
    case "payment-card-number":
      return [
        ["Visa", "4111111111111111"],
        ["Mastercard", "5555555555554444"],
        ["Amex", "378282246310005"],
        ["a wrong number", "4111111111111112#"],
      ];
    case "expiration-date":
      return [[`12 / ${nextYear}`, `12${nextYear}`], ["a past date", "0120"]];
    case "security-code":
      return [["three digits", "123"], ["four digits", "1234"]];
    case "postal-code":
      return [["94105 #", "94105#"]];
    case "bank-routing-number":
      return [["a bank", "021000021"], ["a wrong number", "021000022"]];
    case "bank-account-number":
      return [["an account #", "123456789#"]];
    default:
      return [];
  }
}

let filledStep = null;

function drawFill() {
  const step = isOn() ? call.step : null;
  if (filledStep === step && byId("fill-keys").childElementCount > 0) return;
  filledStep = step;
  const found = fillings(step);
  byId("fill-title").textContent =
    found.length > 0 ? "Let it be keyed for you" : "Test numbers appear here when the caller is asked for one.";
  byId("fill-keys").replaceChildren(
    ...found.map(([name, keys]) => {
      const button = make("button", { type: "button", class: "chip" }, name);
      button.addEventListener("click", () => void fill(keys));
      return button;
    }),
  );
}

async function fill(keys) {
  const sid = call.sid;
  for (const key of keys) {
    if (call.sid !== sid || !isOn()) return;
    press(key);
    if (!calmly.matches) await new Promise((resolve) => window.setTimeout(resolve, FILL_TIME_MS));
  }
}

// --- Dialling --------------------------------------------------------------------------------------------------------

async function dial() {
  if (isOn()) return;
  say(byId("trouble"), "");
  const body = { twiml: byId("twiml").value };
  if (byId("connector").value) body.connector = byId("connector").value;
  const switches = changedSwitches();
  if (Object.keys(switches).length > 0) body.switches = switches;
  byId("run").disabled = true;
  try {
    const answer = await post("/desk/calls", body);
    if (!answer.ok) say(byId("trouble"), answer.body.error ?? `The desk answered ${answer.status}.`);
    else {
      if (!seenCalls.has(answer.body.sid)) adopt(answer.body.sid);
      if (narrow.matches) byId("phone").scrollIntoView({ behavior: calmly.matches ? "auto" : "smooth" });
    }
  } catch {
    say(byId("trouble"), UNREACHABLE);
  } finally {
    byId("run").disabled = isOn();
  }
}

async function hangUp() {
  try {
    const sid = call.sid;
    const answer = await post(`/desk/calls/${sid}/hang-up`);
    if (answer.status === GONE) lost(sid);
  } catch {
    say(byId("trouble"), UNREACHABLE);
  }
}

/** Show another call: everything begins anew. */
function adopt(sid) {
  seenCalls.add(sid);
  call = newCall(sid);
  call.status = "queued";
  unsent = "";
  isFollowing = true;
  window.speechSynthesis?.cancel();
  byId("caption").replaceChildren();
  byId("events").replaceChildren();
  byId("warnings").replaceChildren();
  byId("warnings").hidden = true;
  byId("captures").hidden = true;
  say(byId("agent-trouble"), "");
  say(byId("trouble"), "");
  showKeyed("");
  showNoOutcome();
  ask(null);
  countMessages();
  drawDocuments();
}

// --- TwiML -----------------------------------------------------------------------------------------------------------

const TAG_PARTS = /<!--[^]*?-->|<\?[^]*?\?>|<\/?[A-Za-z][\w:.-]*|\/?>|[\w:.-]+(?=\s*=)|"[^"]*"|'[^']*'|[^]/g;

/** The words of a document with what they are: [kind, text]. Whatever it holds, all of it comes back, in order. */
function wordsOf(text) {
  const words = [];
  let isInTag = false;
  for (const [word] of text.matchAll(TAG_PARTS)) {
    let kind = "";
    if (word.startsWith("<!--") || word.startsWith("<?")) kind = "note";
    else if (/^<\/?[A-Za-z]/.test(word)) {
      kind = "tag";
      isInTag = true;
    } else if (/^\/?>$/.test(word)) {
      kind = isInTag ? "tag" : "";
      isInTag = false;
    } else if (isInTag && word.length > 1) kind = /^["']/.test(word) ? "value" : "name";
    const last = words.at(-1);
    if (last && last[0] === kind) last[1] += word;
    else words.push([kind, word]);
  }
  return words;
}

/** A document as coloured lines: one list of elements each. */
function coloured(text) {
  const lines = [[]];
  for (const [kind, word] of wordsOf(text)) {
    word.split("\n").forEach((part, place) => {
      if (place > 0) lines.push([]);
      if (part) lines.at(-1).push(kind ? make("span", { class: `t-${kind}` }, part) : part);
    });
  }
  return lines;
}

function paint() {
  const lines = coloured(byId("twiml").value);
  byId("paint").replaceChildren(...lines.flatMap((line) => [...line, "\n"]));
  follow();
}

/** The colours move with what is written. */
function follow() {
  byId("paint").scrollTop = byId("twiml").scrollTop;
  byId("paint").scrollLeft = byId("twiml").scrollLeft;
}

/** A document of so few lines was written by a program, and its lines are long. */
const WRAPPED_LINES_MAX = 2;

/** Show the document `call.shown`, or with -1 the editor. */
function drawDocuments() {
  const shown = call.documents[call.shown];
  byId("editor").hidden = shown !== undefined;
  byId("listing").hidden = shown === undefined;
  byId("edit").hidden = call.documents.length === 0;
  byId("edit").textContent = shown === undefined ? "Watch" : "Edit";
  byId("document-name").textContent = shown === undefined ? "TwiML, yours to edit" : nameOf(shown);
  byId("document-steps").replaceChildren(
    ...(call.documents.length < 2 ? [] : call.documents).map((_document, place) => {
      const button = make(
        "button",
        { type: "button", "aria-label": `Document ${place + 1}`, "aria-pressed": String(place === call.shown) },
        String(place + 1),
      );
      button.addEventListener("click", () => {
        call.shown = place;
        drawDocuments();
      });
      return button;
    }),
  );
  if (shown === undefined) return;
  const lines = coloured(shown.twiml.replace(/\n$/, ""));
  byId("listing").classList.toggle("wraps", lines.length <= WRAPPED_LINES_MAX);
  byId("listing").replaceChildren(...lines.map((line) => make("li", {}, make("span", {}, ...line))));
  markVerb();
}

const nameOf = (shown) => (shown.url ? shown.url.replace(window.location.origin, "") : "Came with the call");

/** Mark the lines of the verb that runs: from its own to the one before the next verb's. */
function markVerb() {
  const shown = call.documents[call.shown];
  if (shown === undefined) return;
  const lines = [...byId("listing").children];
  const verb = shown.verbs.find(({ index }) => index === shown.verb);
  const next = shown.verbs.find(({ index }) => index === shown.verb + 1);
  const end = lines.findLastIndex((line) => line.textContent.includes("</Response"));
  const from = verb?.line ?? 0;
  const to = next ? next.line - 1 : Math.max(end, from);
  lines.forEach((line, place) => {
    const isIn = verb !== undefined && place + 1 >= from && (place + 1 <= to || place + 1 === from);
    line.classList.toggle("now", isIn && line.textContent.trim() !== "");
    if (verb !== undefined && place + 1 === from) line.setAttribute("aria-current", "step");
    else line.removeAttribute("aria-current");
  });
  const first = lines[from - 1];
  if (first) byId("listing").scrollTop = Math.max(0, first.offsetTop - byId("listing").offsetTop - 40);
}

function choosePreset() {
  const preset = desk.presets.find(({ name }) => name === byId("preset").value);
  if (!preset) return;
  byId("twiml").value = preset.twiml.replaceAll("{base}", window.location.origin);
  byId("preset-about").textContent = preset.about;
  call.shown = -1;
  drawDocuments();
  paint();
}

// --- Connectors and switches -----------------------------------------------------------------------------------------

function drawConnectors() {
  const options = () => [
    make("option", { value: "" }, "as written"),
    ...desk.connectors.map(({ unique_name: name, url, mode }) =>
      make("option", { value: name, title: url }, `${name} · ${mode}`),
    ),
  ];
  byId("connector").replaceChildren(...options());
  byId("agent-connector").replaceChildren(...options());
  byId("agent-connector").firstChild.textContent = "Default";
}

function drawSwitches() {
  byId("switch-list").replaceChildren(
    ...desk.switches.map((one) => {
      const id = `switch-${one.name}`;
      const choices = one.choices ?? (typeof one.value === "boolean" ? [true, false] : null);
      const control = choices
        ? make("select", { id }, ...choices.map((choice) => make("option", { value: String(choice) }, String(choice))))
        : make("input", { id, type: typeof one.value === "number" ? "number" : "text", step: "any" });
      control.value = String(one.value);
      control.setAttribute("aria-describedby", `${id}-about`);
      control.addEventListener("change", countSwitches);
      return make(
        "div",
        { class: "switch" },
        make("label", { for: id }, one.name),
        make("small", { id: `${id}-about` }, one.description),
        control,
      );
    }),
  );
  countSwitches();
}

/** What differs from how the desk was started, in the types that the desk told. */
function changedSwitches() {
  const changed = {};
  for (const { name, value } of desk.switches) {
    const given = byId(`switch-${name}`).value;
    if (given === String(value)) continue;
    if (typeof value === "boolean") changed[name] = given === "true";
    else if (typeof value === "number") changed[name] = Number(given);
    else changed[name] = given;
  }
  return changed;
}

function countSwitches() {
  const changed = changedSwitches();
  for (const { name } of desk.switches) {
    byId(`switch-${name}`).closest(".switch").classList.toggle("changed", name in changed);
  }
  const count = Object.keys(changed).length;
  byId("switches-count").textContent = count === 0 ? `${desk.switches.length}` : `${count} changed`;
}

// --- The agent -------------------------------------------------------------------------------------------------------

const AGENT_PRESET = "agent";

async function api(path, parameters) {
  say(byId("agent-trouble"), "");
  try {
    const answer = await post(`/desk/calls/${call.sid}/payments${path}`, parameters);
    if (!answer.ok) {
      const { code, message, error } = answer.body;
      say(byId("agent-trouble"), `${answer.status}${code ? ` · ${code}` : ""} · ${message ?? error ?? "refused"}`);
    }
    return answer;
  } catch {
    say(byId("agent-trouble"), UNREACHABLE);
    return { ok: false, body: {} };
  }
}

async function startPayment(event) {
  event.preventDefault();
  if (call.status !== "in-progress") return;
  const isBank = byId("agent-method").value === "ach-debit";
  const parameters = {
    PaymentMethod: byId("agent-method").value,
    Currency: byId("agent-currency").value.trim(),
    Timeout: "20",
  };
  const amount = byId("agent-amount").value.trim();
  if (amount) parameters.ChargeAmount = amount;
  if (byId("agent-connector").value) parameters.PaymentConnector = byId("agent-connector").value;
  if (isBank) parameters.Parameter = JSON.stringify({ AVSName: "Robin Caller" });
  else {
    parameters.SecurityCode = String(byId("agent-security-code").checked);
    parameters.PostalCode = String(byId("agent-postal-code").checked);
  }
  const shownCall = call;
  call.opening = parameters;
  const answer = await api("", parameters);
  if (answer.ok && call === shownCall) beginPayment(answer.body.sid, parameters);
  shownCall.opening = null;
}

/** A payment is on: show what is to be captured. Its first callback may be here before the answer. */
function beginPayment(sid, parameters) {
  if (call.payment?.sid === sid) return;
  const isBank = parameters.PaymentMethod === "ach-debit";
  const steps = isBank
    ? ["bank-routing-number", "bank-account-number"]
    : ["payment-card-number", "expiration-date", "security-code", "postal-code"];
  const leftOut = { "security-code": parameters.SecurityCode, "postal-code": parameters.PostalCode };
  call.payment = {
    sid,
    isOver: false,
    steps: steps.filter((step) => leftOut[step] !== "false"),
    values: {},
    errors: {},
    asked: null,
    required: null,
  };
  byId("captures").hidden = false;
  byId("payment-sid").textContent = sid;
  byId("capture-list").replaceChildren(
    ...call.payment.steps.map((step) => {
      const button = make("button", { type: "button", class: "secondary" }, "Ask");
      button.addEventListener("click", () => void capture(step));
      return make(
        "li",
        { class: "capture", "data-step": step, "data-state": "open" },
        make("span", { class: "capture-name" }, capitalized(STEPS[step])),
        make("span", { class: "capture-value" }),
        make("span", { class: "capture-state" }),
        button,
      );
    }),
  );
  drawCaptures();
}

function capture(step) {
  return api(`/${call.payment.sid}`, { Capture: step });
}

function endPayment(status) {
  return api(`/${call.payment.sid}`, { Status: status });
}

/** A callback of the Payments API came: it tells all that an agent knows. */
function heardOfPayment(fields, sid, at) {
  if (call.payment?.sid !== sid) {
    beginPayment(sid, call.opening ?? { PaymentMethod: fields.PaymentMethod });
    if (isFresh(at)) selectTab("agent");
  }
  const payment = call.payment;
  const step = stepOf(fields.Capture);
  const isKeying = fields.PartialResult === "true";
  for (const [name, field] of Object.entries(FIELDS)) {
    payment.values[name] = fields[field] ?? "";
  }
  if (fields.PaymentCardType) payment.cardType = fields.PaymentCardType;
  if (fields.Required !== undefined) {
    payment.required = fields.Required.split(",").map((one) => one.trim()).filter(Boolean);
  }
  if (step) payment.errors[step] = isKeying ? "" : (fields.ErrorType ?? "");
  payment.asked = isKeying ? step : null;
  // A cancel may have no Result: it is the update that asks for nothing and refuses nothing.
  const isCanceled = Boolean(fields.DateUpdated) && !fields.Capture && !fields.ErrorType;
  if (fields.Result !== undefined || isCanceled) {
    payment.isOver = true;
    showOutcome(fields);
  }
  if (isKeying) {
    const shown = payment.values[step] ?? "";
    if (shown === "") showKeyed("");
    ask(step, `Agent asks: ${STEPS[step]}`);
  } else if (step || payment.isOver) {
    showKeyed("");
    ask(null);
  }
  drawCaptures();
}

function drawCaptures() {
  const payment = call.payment;
  if (payment === null) return;
  const isOver = payment.isOver || !isOn();
  for (const row of byId("capture-list").children) {
    const step = row.dataset.step;
    const [state, words] = captureState(payment, step);
    row.dataset.state = state;
    row.querySelector(".capture-value").textContent = payment.values[step] || "";
    row.querySelector(".capture-state").textContent = words;
    const button = row.querySelector("button");
    button.disabled = isOver;
    button.textContent = state === "open" ? "Ask" : "Ask again";
    button.setAttribute("aria-label", `${button.textContent}: ${STEPS[step]}`);
  }
  byId("agent-complete").disabled = isOver;
  byId("agent-cancel").disabled = isOver;
  const left = payment.required;
  if (payment.isOver) say(byId("required"), "This payment is over.");
  else if (left === null) say(byId("required"), "Ask for one thing after the other, in any order.");
  else say(byId("required"), left.length === 0 ? "All is here: complete it." : `Still required: ${left.join(", ")}`);
}

function captureState(payment, step) {
  if (payment.asked === step) return ["asked", "the caller is keying"];
  if (payment.errors[step]) return ["bad", payment.errors[step]];
  if (!payment.values[step]) return ["open", "not asked yet"];
  return ["good", step === "payment-card-number" && payment.cardType ? `good · ${payment.cardType}` : "good"];
}

// --- Result ----------------------------------------------------------------------------------------------------------

function showNoOutcome() {
  byId("outcome").dataset.kind = "none";
  say(byId("outcome-word"), "Nothing yet");
  say(byId("outcome-about"), "The charge, or the token of the vault, will stand here.");
  byId("outcome-id-line").hidden = true;
  byId("outcome-all").hidden = true;
  byId("outcome-all").open = false;
}

function showOutcome(fields) {
  const charge = fields.PaymentConfirmationCode;
  const token = fields.PaymentToken;
  const isGood = fields.Result === "success";
  byId("outcome").dataset.kind = isGood ? "good" : STOPPED.has(fields.Result) ? "stopped" : "bad";
  if (isGood) {
    say(byId("outcome-word"), charge ? `Charged${call.ordered ? ` ${call.ordered}` : ""}` : "Kept in the vault");
    say(byId("outcome-about"), charge ? "The application got this confirmation:" : "The application got this token:");
  } else {
    say(byId("outcome-word"), RESULTS[fields.Result] ?? fields.Result ?? "Canceled");
    const code = fields.PayErrorCode ? `${fields.PayErrorCode} ` : "";
    const theirs = fields.ConnectorError || fields.connectorError;
    const why = fields.PaymentError || "The endpoint was not asked.";
    say(byId("outcome-about"), `${code}${why}${theirs ? ` — ${theirs}` : ""}`);
  }
  byId("outcome-id-line").hidden = !(isGood && (charge || token));
  byId("outcome-id").textContent = charge || token || "";
  byId("copy").textContent = "Copy";
  byId("copy").setAttribute("aria-label", charge ? "Copy the confirmation" : "Copy the token");
  const told = Object.entries(fields);
  byId("outcome-all").hidden = told.length === 0;
  byId("outcome-all-title").textContent = `All ${told.length} fields, as your application gets them`;
  byId("outcome-fields").replaceChildren(
    ...told.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value === "" ? "—" : String(value))]),
  );
}

async function copyId() {
  await navigator.clipboard.writeText(byId("outcome-id").textContent);
  byId("copy").textContent = "Copied";
}

// --- Timeline --------------------------------------------------------------------------------------------------------

const ROWS_MAX = 500;
const NEAR_END_PX = 40;

/** Whether the timeline follows what happens: until somebody scrolls back or unfolds a message. */
let isFollowing = true;

function toEnd() {
  if (isFollowing) byId("events").scrollTop = byId("events").scrollHeight;
}

function followTimeline() {
  const list = byId("events");
  list.addEventListener("scroll", () => {
    isFollowing = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX;
  });
  list.addEventListener("toggle", () => (isFollowing = false), { capture: true });
  new ResizeObserver(toEnd).observe(list);
}

/** The time since the call's first event, such as 1:02.3. */
function sinceBegin(at) {
  call.firstAt ??= at;
  const tenths = Math.max(0, Math.round((at - call.firstAt) / 100));
  return `${Math.floor(tenths / 600)}:${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
}

/** A line of the timeline. With `bodies` it unfolds. */
function addRow(at, { from, what, where = "", end = [], bodies = null, isMinor = false }) {
  const cells = [
    make("span", { class: "row-time" }, sinceBegin(at)),
    make(
      "span",
      { class: "row-what" },
      make("span", { class: `lane lane-${from}` }, bodies ? `→ ${from}` : from),
      make("span", { class: "row-title" }, ...what),
      make("span", { class: "row-where" }, where),
    ),
    make("span", { class: "row-end" }, ...end),
  ];
  const inside = bodies
    ? make("details", {}, make("summary", { class: "row" }, ...cells), bodies)
    : make("div", { class: "row" }, ...cells);
  const row = make("li", { class: isMinor ? "minor" : null }, inside);
  const list = byId("events");
  list.append(row);
  while (list.childElementCount > ROWS_MAX) list.firstElementChild.remove();
  toEnd();
  return row;
}

function body(title, text) {
  return make("div", {}, make("h3", {}, title), make("pre", { tabindex: "0" }, readable(text)));
}

/** JSON and forms are spread out; all else stays as it is. Already masked: nothing here makes it so. */
function readable(text) {
  if (!text) return "(nothing)";
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // no JSON
  }
  if (/^[\w.%+-]+=[^\s]*$/.test(text)) {
    return [...new URLSearchParams(text)].map(([name, value]) => `${name} = ${value}`).join("\n");
  }
  return text;
}

function countMessages() {
  const count = byId("events").querySelectorAll("details.exchange").length;
  byId("timeline-count").textContent = count === 0 ? "" : `${count} ${count === 1 ? "exchange" : "exchanges"}`;
  byId("timeline-empty").hidden = byId("events").childElementCount > 0;
}

let keysRow = null;

const rowKey = ({ exchange, attempt }) => `${exchange}/${attempt ?? 1}`;

/** A request went out: its row waits for the answer. */
function requested(event, at) {
  if (event.to === "connector") rememberOrder(event.body);
  const attempt = event.attempt ?? 1;
  const waiting = make("span", { class: "waiting" }, "…");
  const bodies = make("div", { class: "bodies" }, body(`Sent: ${event.method} ${event.url}`, event.body));
  const row = addRow(at, {
    from: event.to,
    what: [event.why ?? "", attempt > 1 ? make("span", { class: "again" }, ` · attempt ${attempt}`) : ""],
    where: hintOf(event) || event.url.replace(window.location.origin, ""),
    end: [waiting],
    bodies,
  });
  row.firstElementChild.classList.add("exchange");
  call.rows.set(rowKey(event), { row, waiting, bodies, at });
  countMessages();
}

/** What a callback is about, in a word: its result, its error, or the marks so far. */
function hintOf({ to, body: text }) {
  if (to !== "application" || !text) return "";
  const fields = new URLSearchParams(text);
  if (fields.get("Result")) return fields.get("Result");
  if (fields.get("ErrorType")) return fields.get("ErrorType");
  return fields.get("Sid") ? (fields.get(FIELDS[stepOf(fields.get("Capture"))]) ?? "") : "";
}

/** The amount of a charge, for the result. Its place in the body is the contract's. */
function rememberOrder(text) {
  try {
    const { amount, currency_code: currency } = JSON.parse(text);
    if (amount && Number(amount) > 0) call.ordered = `${amount} ${(currency ?? "").toUpperCase()}`.trim();
  } catch {
    call.ordered = "";
  }
}

function responded(event, at) {
  const found = call.rows.get(rowKey(event));
  if (!found) return;
  call.rows.delete(rowKey(event));
  const took = event.ms === null || event.ms === undefined ? at - found.at : event.ms;
  const isGood = event.status >= 200 && event.status < 300;
  const outcome = event.status ? String(event.status) : "no answer";
  found.waiting.replaceWith(
    make("span", { class: isGood ? "status-good" : "status-bad" }, outcome),
    make("span", {}, duration(took)),
  );
  const title = event.status ? `Answered: ${event.status}, after ${duration(took)}` : `No answer: ${event.failure}`;
  found.bodies.append(body(title, event.body ?? ""));
  if (!isGood && event.is_last === false) {
    found.row.querySelector("summary").append(make("span", { class: "again row-note" }, "Twilio asks again"));
  }
}

const duration = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** What is still awaited says for how long. */
function drawWaiting() {
  for (const { waiting, at } of call.rows.values()) {
    const seconds = Math.floor((Date.now() - at) / 1000);
    if (seconds >= 1) waiting.textContent = `${seconds} s …`;
  }
}

/** Keys of one entry share a line. */
function keysHeard(shown, step, at) {
  if (keysRow?.call === call && keysRow.step === step) {
    keysRow.shown += shown;
    keysRow.element.textContent = keysRow.shown;
    return;
  }
  const element = make("code", {}, shown);
  addRow(at, { from: "caller", what: ["keys ", element], isMinor: true });
  keysRow = { call, step, element, shown };
}

function warned(code, text) {
  const item = make("li", {}, code ? make("b", {}, `${code} `) : null, text);
  byId("warnings").append(item);
  byId("warnings").hidden = false;
}

// --- Events ----------------------------------------------------------------------------------------------------------

/** Whether it happened since this page was opened. The server tells of earlier calls too. */
const isFresh = (at) => at >= performance.timeOrigin;

const events = {
  call(event, at) {
    call.status = event.status;
    if (event.status === "in-progress") call.beganAt ??= at;
    const ends = `${event.from ?? ""} → ${event.to ?? ""}`;
    addRow(at, { from: "call", what: [event.status], where: event.from ? ends : "", isMinor: true });
    drawPhone();
  },

  document(event) {
    call.documents.push({ url: event.url, twiml: event.twiml, verbs: event.verbs ?? [], verb: -1 });
    call.shown = call.documents.length - 1;
    drawDocuments();
  },

  verb(event) {
    const last = call.documents.at(-1);
    if (last) last.verb = event.index;
    markVerb();
    if (event.verb === "Gather" || event.index === -1) ask(null);
  },

  speaks(event, at) {
    caption(event.text);
    showKeyed("");
    if (event.step) ask(event.step);
    addRow(at, { from: "caller", what: ["hears “", event.text, "”"], isMinor: true });
    if (isFresh(at)) speak(event.text, event.language);
  },

  plays(event, at) {
    const what = event.url ?? `tones ${event.digits}`;
    caption(`♪ ${what}`);
    if (event.step) ask(event.step);
    addRow(at, { from: "caller", what: ["hears ♪ ", what], isMinor: true });
  },

  hears(event, at) {
    if (event.step && event.step !== call.step) ask(event.step);
    showKeyed(call.keyed + event.shown);
    keysHeard(event.shown, event.step, at);
  },

  request: requested,
  response: responded,

  result(event) {
    showOutcome(event.fields);
    showKeyed("");
    ask(null);
  },

  payment(event, at) {
    heardOfPayment(event.fields, event.sid, at);
  },

  warning(event, at) {
    warned(event.code, event.text);
    addRow(at, { from: "warning", what: [event.code ? `${event.code} ` : "", event.text] });
  },

  ended(event, at) {
    call.status = event.status;
    call.endedAt = at;
    call.beganAt ??= at;
    if (!isFresh(at)) call.shown = -1;
    drawDocuments();
    unsent = "";
    showKeyed("");
    ask(null);
    drawCaptures();
    addRow(at, { from: "call", what: [event.status], isMinor: true });
  },
};

function happened(message) {
  const event = JSON.parse(message.data);
  const at = Date.parse(event.at);
  if (event.call && !seenCalls.has(event.call)) adopt(event.call);
  if (event.call !== call.sid) return;
  events[event.kind]?.(event, at);
  countMessages();
}

function listen() {
  const source = new EventSource("/desk/events");
  const show = (state, words) => {
    byId("link-state").dataset.state = state;
    say(byId("link-state"), words);
  };
  source.onopen = () => show("live", "Live");
  source.onerror = () => show("lost", "Connecting again");
  source.onmessage = happened;
}

// --- Tabs ------------------------------------------------------------------------------------------------------------

const TABS = ["twiml", "agent"];

function selectTab(name) {
  for (const one of TABS) {
    const isSelected = one === name;
    byId(`tab-${one}`).setAttribute("aria-selected", String(isSelected));
    byId(`tab-${one}`).tabIndex = isSelected ? 0 : -1;
    byId(`panel-${one}`).hidden = !isSelected;
  }
}

function tabKeys(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const place = TABS.findIndex((name) => byId(`tab-${name}`) === event.target);
  const next = TABS[(place + step + TABS.length) % TABS.length];
  selectTab(next);
  byId(`tab-${next}`).focus();
}

// --- Begin -----------------------------------------------------------------------------------------------------------

async function putCallerOnLine() {
  byId("preset").value = AGENT_PRESET;
  choosePreset();
  await dial();
  selectTab("agent");
}

function connectControls() {
  document.addEventListener("keydown", typed);
  byId("hook").addEventListener("click", () => void (isOn() ? hangUp() : dial()));
  byId("run").addEventListener("click", () => void dial());
  byId("preset").addEventListener("change", choosePreset);
  byId("twiml").addEventListener("input", paint);
  byId("twiml").addEventListener("scroll", follow);
  byId("edit").addEventListener("click", () => {
    call.shown = call.shown === -1 ? call.documents.length - 1 : -1;
    drawDocuments();
    paint();
  });
  for (const name of TABS) {
    byId(`tab-${name}`).addEventListener("click", () => selectTab(name));
    byId(`tab-${name}`).addEventListener("keydown", tabKeys);
  }
  byId("opening").addEventListener("submit", (event) => void startPayment(event));
  byId("agent-call").addEventListener("click", () => void putCallerOnLine());
  byId("agent-complete").addEventListener("click", () => void endPayment("complete"));
  byId("agent-cancel").addEventListener("click", () => void endPayment("cancel"));
  byId("copy").addEventListener("click", () => void copyId());
  followTimeline();
  toggle("tones");
  toggle("voice", (isOnNow) => isOnNow || window.speechSynthesis?.cancel());
  toggle("wire-only", (isOnNow) => byId("events").classList.toggle("wire-only", isOnNow));
  window.setInterval(() => {
    if (isOn()) drawTimer();
    drawWaiting();
  }, 250);
}

async function begin() {
  drawKeypad();
  connectControls();
  drawPhone();
  try {
    desk = await (await fetch("/desk/state")).json();
  } catch {
    say(byId("trouble"), UNREACHABLE);
    return;
  }
  byId("preset").replaceChildren(...desk.presets.map(({ name, title }) => make("option", { value: name }, title)));
  drawConnectors();
  drawSwitches();
  choosePreset();
  listen();
}

await begin();
