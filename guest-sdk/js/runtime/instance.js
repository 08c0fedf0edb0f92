// `this`: the component's props with their values, and its methods.

import { addAuth } from "./accounts.js";
import { isApp, resolveProp } from "./props.js";
import { dataStore, database } from "./store.js";
import { httpInterface } from "./flow.js";
import { httpRequest } from "./request.js";

/** Methods of `source`, bound to `target`; what is no function is copied. */
function addMethods(target, source, owner) {
  for (const [name, method] of Object.entries(source ?? {})) {
    target[name] = typeof method === "function" ? method.bind(owner) : method;
  }
}

function appInstance(name, app, optional) {
  const instance = {};
  addMethods(instance, app.methods, instance);
  addAuth(instance, name, optional);
  instance.$app = app.app;
  // `propDefinition: [this.app, "name"]` of what additionalProps adds; not one of the app's fields.
  Object.defineProperty(instance, "propDefinitions", { value: app.propDefinitions, writable: true, configurable: true, enumerable: false });
  // What an app file keeps beside its methods, such as constants.
  for (const [key, value] of Object.entries(app)) {
    if (!["type", "app", "methods", "propDefinitions", "label", "description", "optional"].includes(key)) instance[key] ??= value;
  }
  return instance;
}

/** The component's `this`, with `values` for what the host filled in. */
export function makeInstance(component, values) {
  const instance = {};
  for (const [name, declared] of Object.entries(component.props ?? {})) {
    const prop = resolveProp(name, declared);
    if (isApp(prop)) instance[name] = appInstance(name, prop, prop.optional === true);
    else if (prop.type === "data_store") instance[name] = dataStore(name, values[name]);
    else if (prop.type === "$.service.db") instance[name] = database(name, values[name]);
    else if (prop.type === "$.interface.http" || prop === "$.interface.http") instance[name] = httpInterface();
    else if (prop.type === "http_request") instance[name] = values[name] && httpRequest(name, values[name]);
    else if (prop.type === "alert") instance[name] = undefined;
    else instance[name] = values[name];
  }
  // What `additionalProps` added is not in the component's source.
  for (const [name, value] of Object.entries(values)) {
    if (!(name in instance) && !name.startsWith("$")) instance[name] = value;
  }
  addMethods(instance, component.methods, instance);
  return instance;
}
