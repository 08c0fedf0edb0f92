// A component's props: what its source says of them, with prop definitions of app files
// put in their places, and what the contract's `definition` says.

/** Types whose value does not come from whoever configures the step. */
const SERVICE_DB = "$.service.db";
const BUILT_IN = /^(\$\.interface\.|alert$)/;
const CONTRACT = /^((string|integer|number|boolean|object|any)(\[\])?|data_store)$/;
const MOST_OPTIONS = 1000;
const LONGEST_TEXT = 4096;

/** A prop that is an app: written inline, or an imported app file. */
export function isApp(prop) {
  return prop?.type === "app";
}

/** A prop as it is meant: a text is its type, a `propDefinition` is looked up. */
export function resolveProp(name, prop) {
  if (typeof prop === "string") return { type: prop };
  if (prop === null || typeof prop !== "object") {
    throw new TypeError(`the prop ${name} is ${prop === undefined ? "undefined; is what it is imported from right?" : `not an object but ${prop}`}`);
  }
  if (prop.propDefinition === undefined) return prop;
  const [app, key, parameters] = prop.propDefinition;
  const base = app?.propDefinitions?.[key];
  if (base === undefined) {
    const known = Object.keys(app?.propDefinitions ?? {}).join(", ") || "none";
    throw new TypeError(`the prop ${name} refers to the propDefinition "${key}" of the app ${app?.app ?? app?.$app ?? "?"}, which has ${known}`);
  }
  const { propDefinition: _, ...own } = prop;
  return { ...resolveProp(key, base), ...own, from: { app, parameters } };
}

export function isBuiltIn(prop) {
  return BUILT_IN.test(prop.type);
}

/** The contract's type for a type of the component API. */
function contractType(prop) {
  const type = String(prop.type ?? "any");
  // `{ label, value }` objects are handed over as they are.
  if (prop.withLabel) return type.endsWith("[]") ? "any[]" : "any";
  if (CONTRACT.test(type)) return type;
  if (type === SERVICE_DB) return "data_store";
  if (type === "http_request") return "object";
  if (type.startsWith("$.") || type === "datetime") return type.endsWith("[]") ? "string[]" : "string";
  return type.endsWith("[]") ? "any[]" : "any";
}

const CHECKS = {
  string: (value) => typeof value === "string",
  integer: (value) => Number.isInteger(value),
  number: (value) => typeof value === "number" && Number.isFinite(value),
  boolean: (value) => typeof value === "boolean",
  object: (value) => value !== null && typeof value === "object" && !Array.isArray(value),
  any: (value) => value !== undefined,
  data_store: (value) => typeof value === "string",
};

/** `value` as one of `base`, if it is one or reads as one; else undefined. */
function as(base, value) {
  if (CHECKS[base](value)) return value;
  if ((base === "integer" || base === "number") && typeof value === "string" && value.trim() !== "" && CHECKS[base](Number(value))) return Number(value);
  if (base === "boolean" && (value === "true" || value === "false")) return value === "true";
  if (base === "string" && (typeof value === "number" || typeof value === "boolean")) return String(value);
  return undefined;
}

const isLabelled = (option) => option !== null && typeof option === "object" && "value" in option;

function staticOptions(prop, base) {
  if (prop.withLabel) return undefined;
  const given = Array.isArray(prop.options) ? prop.options : CHECKS.object(prop.options) ? Object.entries(prop.options).map(([value, label]) => ({ label, value })) : [];
  if (given.length === 0 || given.length > MOST_OPTIONS) return undefined;
  const options = [];
  for (const option of given) {
    const value = as(base, isLabelled(option) ? option.value : option);
    if (value === undefined) return undefined;
    options.push(isLabelled(option) ? { label: text(option.label ?? String(value)), value } : value);
  }
  return options;
}

const valueOf = (option) => (isLabelled(option) ? option.value : option);

function text(value) {
  const string = typeof value === "string" ? value : JSON.stringify(value);
  return string.length <= LONGEST_TEXT / 4 || new TextEncoder().encode(string).length <= LONGEST_TEXT ? string : `${string.slice(0, LONGEST_TEXT / 4 - 1)}…`;
}

/** One prop as the contract has it, or undefined if nobody fills it in. */
export function describe(name, declared) {
  const prop = resolveProp(name, declared);
  if (isApp(prop)) {
    const described = { type: "app", app: prop.app };
    if (prop.label) described.label = text(prop.label);
    if (prop.description) described.description = text(prop.description);
    if (prop.optional) described.optional = true;
    if (prop.scopes?.length > 0) described.scopes = [prop.scopes].flat();
    if (prop.reloadProps) Object.assign(described, { configure: true, reload: true });
    return described;
  }
  if (isBuiltIn(prop)) return undefined;
  const type = contractType(prop);
  const list = type.endsWith("[]");
  const base = list ? type.slice(0, -2) : type;
  const described = { type };
  if (prop.label) described.label = text(prop.label);
  if (prop.description) described.description = text(prop.description);
  // A hidden prop is one that `additionalProps` shows later; without a name, a database is the step's own.
  if (prop.optional || prop.hidden || prop.disabled || prop.type === SERVICE_DB || prop.type === "dir") described.optional = true;
  const options = staticOptions(prop, base);
  if (prop.default !== undefined && prop.default !== null) {
    const value = list ? [prop.default].flat().map((item) => as(base, item)) : as(base, prop.default);
    if (value !== undefined && !(list && value.includes(undefined))) described.default = value;
  }
  if (options !== undefined) {
    const values = options.map(valueOf);
    // Where the author's own default is not among them, they are suggestions.
    if (described.default === undefined || [described.default].flat().every((value) => values.includes(value))) described.options = options;
  }
  if (typeof prop.options === "function" || prop.reloadProps) described.configure = true;
  if (prop.reloadProps) described.reload = true;
  if (prop.secret && type === "string") described.secret = true;
  return described;
}

/** Every prop that somebody fills in, in the author's order. */
export function describeAll(props) {
  const described = {};
  for (const [name, prop] of Object.entries(props ?? {})) {
    const one = describe(name, prop);
    if (one !== undefined) described[name] = one;
  }
  return described;
}

/** What `additionalProps` is given: copies of the props, which it may change. */
export function existingProps(props) {
  const existing = {};
  for (const [name, declared] of Object.entries(props ?? {})) {
    const { from: _, ...prop } = resolveProp(name, declared);
    existing[name] = declared?.propDefinition === undefined ? prop : { ...prop, propDefinition: declared.propDefinition };
  }
  return existing;
}

const isFree = (prop) => Boolean(prop.optional || prop.hidden || prop.disabled);

/** Of the props that `additionalProps` was given, those that it hid: nobody need fill them in. */
export function hiddenProps(props, existing) {
  const hidden = {};
  for (const [name, declared] of Object.entries(props ?? {})) {
    const prop = existing[name];
    if (prop && isFree(prop) && !isFree(resolveProp(name, declared))) hidden[name] = prop;
  }
  return hidden;
}
