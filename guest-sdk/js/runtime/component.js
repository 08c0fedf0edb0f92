// The three exports of the world `step`, for a component of the component API.

import { print } from "./console.js";
import { failureOf } from "./failure.js";
import { dollar, hasExited } from "./flow.js";
import { makeInstance } from "./instance.js";
import { settled, toJson } from "./json.js";
import { describeAll, existingProps, hiddenProps, resolveProp } from "./props.js";
import { sendPending } from "./send.js";
import { enterCall, setMemory } from "./state.js";

const NAME = /[^a-z0-9-]+/g;
const SEMVER = /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;

/** A fault of the author's file as a whole: the build shows its message alone. */
class SourceError extends TypeError {
  constructor(message) {
    super(`keyhole: ${message}`);
  }
}

/** What was default-exported, or why that is no component. */
export function checkComponent(exported) {
  let component = "default" in exported ? exported.default : exported;
  // What a compiler made of a module with a default export.
  if (component?.__esModule && component.default !== undefined) component = component.default;
  if (typeof component === "function") return { run: component };
  if (component === null || typeof component !== "object") {
    throw new SourceError("the step has no default export: write `export default defineComponent({ … })`");
  }
  if (component.type === "app") {
    throw new SourceError("this is an app file, not a step: build a file that has `run` and names this app in its props");
  }
  if (typeof component.run !== "function") {
    const missing = "default" in exported ? "`run`: add `async run({ steps, $ }) { … }` to what it exports" : "default export: write `export default defineComponent({ … })`";
    throw new SourceError(`the step has no ${missing}`);
  }
  return component;
}

function slug(text) {
  return String(text).toLowerCase().replace(NAME, "-").replace(/^-+|-+$/g, "").slice(0, 64);
}

/** The contract's definition. */
export function definitionOf(component, file) {
  const definition = {
    name: slug(component.key ?? "") || slug(component.name ?? "") || slug(file) || "step",
    version: SEMVER.test(component.version ?? "") ? component.version : "0.0.1",
    props: describeAll(component.props),
  };
  const description = component.description ?? (component.key ? component.name : undefined);
  if (typeof description === "string") definition.description = description.length > 1024 ? `${description.slice(0, 1023)}…` : description;
  return JSON.stringify(definition);
}

/** The app that a prop definition belongs to, as it is on `this`. */
function appOf(app, component, instance) {
  const called = app?.app ?? app?.$app;
  const found = Object.entries(component.props ?? {}).find(([name, one]) => one === app || instance[name] === app || (called !== undefined && one?.app === called));
  return found === undefined ? instance : instance[found[0]];
}

/** With `$propsOnly`, the host wants the props that are added alone: options may take a request each. */
async function optionsOf(component, prop, state) {
  const { $page = 0, $prevContext = {}, $query = "", $propsOnly = false, ...values } = state;
  const instance = makeInstance(component, values);
  const declared = component.props?.[prop];
  let resolved = declared === undefined ? undefined : resolveProp(prop, declared);
  const answer = {};
  if (typeof component.additionalProps === "function" && (resolved === undefined || resolved.reloadProps)) {
    try {
      const existing = existingProps(component.props);
      const added = await component.additionalProps.call(instance, existing);
      answer.props = describeAll({ ...hiddenProps(component.props, existing), ...added });
      if (resolved === undefined && added?.[prop] !== undefined) resolved = resolveProp(prop, added[prop]);
    } catch (thrown) {
      // What is filled in so far need not make sense: without its options nobody could choose another value.
      if ($propsOnly || typeof resolved?.options !== "function") throw thrown;
      console.warn("additionalProps:", thrown);
    }
  }
  if (!$propsOnly && typeof resolved?.options === "function") {
    const { app, parameters } = resolved.from ?? {};
    // A prop definition's options run on the app that it belongs to.
    const self = app === undefined ? instance : appOf(app, component, instance);
    const more = typeof parameters === "function" ? parameters.call(instance, instance) : (parameters ?? {});
    const given = await resolved.options.call(self, { ...more, page: $page, prevContext: $prevContext, query: $query, $: self });
    if (Array.isArray(given)) answer.options = given;
    else Object.assign(answer, { options: given?.options ?? [], context: given?.context });
  }
  return toJson(answer, "what the options function gave");
}

async function runOnce(component, input) {
  const event = JSON.parse(input.event);
  const steps = JSON.parse(input.steps);
  const context = JSON.parse(input.context);
  setMemory(context.memory_bytes);
  steps.trigger ??= { event, context };
  const $ = dollar(context);
  const instance = makeInstance(component, JSON.parse(input.props));
  let value;
  try {
    value = await component.run.call(instance, { steps, $, event });
  } catch (thrown) {
    // Also where the author's own `catch` made another error of it.
    if (!hasExited()) throw thrown;
  }
  await sendPending();
  return toJson(await settled(value), "what run returned");
}

/** The exports of the world `step`. */
export function serve(exported, file) {
  const component = checkComponent(exported);
  let definition;
  try {
    definition = definitionOf(component, file);
  } catch (error) {
    throw new SourceError(error.message);
  }
  const calling = async (work) => {
    enterCall();
    try {
      return await work();
    } catch (thrown) {
      throw failureOf(thrown);
    }
  };
  return {
    definition: () => definition,
    configure: (prop, state) => calling(() => optionsOf(component, prop, JSON.parse(state))),
    run: (input) => calling(() => runOnce(component, input)),
  };
}

/** Tells the build what the definition is. */
export function announce(definition) {
  print(`keyhole-definition ${definition}`);
}
