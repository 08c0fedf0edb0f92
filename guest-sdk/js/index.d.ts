/** Types of the component API: what a step in JavaScript or TypeScript is made of. */

/** A value that fits into JSON. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json | undefined };

/** One choice of a prop: a value, or a value under another name. */
export type Option<T> = T | { label: string; value: T };

/** What an async `options` function is given. */
export interface OptionsContext {
  /** Which page of options to give, from 0. */
  page: number;
  /** What the page before gave as `context`. */
  prevContext: Record<string, any>;
  /** What the person searched for, with `useQuery`. */
  query: string;
  [parameter: string]: any;
}

/** What an async `options` function gives. */
export type Options<T> = Option<T>[] | { options: Option<T>[]; context?: Record<string, any> };

interface Described {
  label?: string;
  description?: string;
}

interface Input<T> extends Described {
  /** The step runs without a value. */
  optional?: boolean;
  default?: T;
  options?: readonly Option<any>[] | ((this: any, context: OptionsContext) => Options<any> | Promise<Options<any>>);
  /** The value is not to be shown. */
  secret?: boolean;
  /** Ask `additionalProps` again when the value changes. */
  reloadProps?: boolean;
  /** The value is the chosen `{ label, value }`. */
  withLabel?: boolean;
  /** `options` is given what the person searched for. */
  useQuery?: boolean;
  hidden?: boolean;
  disabled?: boolean;
  min?: number;
  max?: number;
  format?: string;
}

export interface StringProp extends Input<string> { type: "string" }
export interface IntegerProp extends Input<number> { type: "integer" }
export interface NumberProp extends Input<number> { type: "number" }
export interface BooleanProp extends Input<boolean> { type: "boolean" }
export interface ObjectProp extends Input<Record<string, any>> { type: "object" }
export interface AnyProp extends Input<any> { type: "any" }
export interface StringsProp extends Input<string[]> { type: "string[]" }
export interface IntegersProp extends Input<number[]> { type: "integer[]" }
export interface NumbersProp extends Input<number[]> { type: "number[]" }
export interface BooleansProp extends Input<boolean[]> { type: "boolean[]" }
export interface ObjectsProp extends Input<Record<string, any>[]> { type: "object[]" }
export interface AnysProp extends Input<any[]> { type: "any[]" }

/** A request as data; `await this.<prop>.execute()` sends it. */
export interface HttpRequestProp extends Input<PreparedRequest> { type: "http_request" }

type Pairs = Record<string, string> | { name: string; value?: string; disabled?: boolean }[];

export interface PreparedRequest {
  /** Default: GET. */
  method?: string;
  url?: string;
  headers?: Pairs;
  params?: Pairs;
  auth?: { type?: "none" } | { type?: "basic"; username?: string; password?: string } | { type: "bearer"; token: string };
  /** What is sent as JSON, or a text or fields with their content type. */
  body?: { contentType?: string; mode?: "raw" | "fields"; raw?: string; fields?: Pairs } | unknown;
}

/** Key-value pairs that outlive the run and that the whole workspace shares; the workflow names the store. */
export interface DataStoreProp extends Described { type: "data_store"; optional?: boolean; default?: string }
export interface DatabaseProp extends Described { type: "$.service.db" }
/** Answers the caller of the workflow's HTTP trigger. */
export interface HttpProp extends Described { type: "$.interface.http"; customResponse?: boolean }
/** When a source runs elsewhere; a step runs when its workflow does. */
export interface TimerProp extends Described { type: "$.interface.timer"; default?: { intervalSeconds?: number; cron?: string }; static?: any }
/** Files elsewhere; a step has a folder of its own, `/tmp`. */
export interface DirProp extends Described { type: "dir"; accessMode?: "read" | "write" | "read-write"; sync?: boolean; optional?: boolean }
/** A text that is shown beside the props. */
export interface AlertProp { type: "alert"; alertType?: "info" | "neutral" | "warning" | "error"; content: string; hidden?: boolean }

/** An app: its account is linked, never typed in. The default export of an app file, or written where it is used. */
export interface App<Methods extends Record<string, any> = Record<string, any>> extends Described {
  type: "app";
  /** The app's name in the catalog. */
  app: string;
  /** The scopes that its account must have been granted: whoever links one without is told so. */
  scopes?: readonly string[];
  optional?: boolean;
  propDefinitions?: Record<string, any>;
  methods?: Methods & ThisType<Methods & Linked>;
}

/** A prop that an app file defines. What stands beside it replaces what it says. */
export type PropDefinition = Partial<Omit<AnyProp, "type">> & {
  type?: string;
  propDefinition: readonly [app: any, name: string] | readonly [app: any, name: string, parameters: Record<string, any> | ((configured: any) => Record<string, any>)];
};

export type Prop =
  | StringProp | IntegerProp | NumberProp | BooleanProp | ObjectProp | AnyProp
  | StringsProp | IntegersProp | NumbersProp | BooleansProp | ObjectsProp | AnysProp
  | HttpRequestProp | DataStoreProp | DatabaseProp | HttpProp | TimerProp | DirProp | AlertProp | App<any> | PropDefinition
  | keyof Values;

export type Props = Record<string, Prop>;

/** What an app prop has beside its app's methods. */
export interface Linked {
  /** The account's fields. Where one is secret, it is a placeholder: use it as you would use the secret. */
  $auth: Record<string, any>;
  /** Where a request for this account starts. */
  readonly $request: { baseUrl?: string; headers: Record<string, string>; query: Record<string, string> };
}

/** A value of a data store, and what is known of it. */
export interface Entry {
  key: string;
  value: any;
  /** Another one after each change. */
  revision: number;
  /** When it goes. */
  expires?: Date;
}

/** What must be there for a change: this revision, or nothing for null. */
export interface Expected {
  revision?: number | null;
}

/** A prop of type `data_store`. What it gives are promises. */
export interface DataStore {
  get(key: string, otherwise?: any): Promise<any>;
  entry(key: string): Promise<Entry | undefined>;
  /** `ttl` in seconds. Gives the new revision; null, and nothing was changed, if what was expected was not there. */
  set(key: string, value: any, options?: { ttl?: number } & Expected): Promise<number | null>;
  /** Has the entry expire in so many seconds, or never for null. Whether there is one. */
  setTtl(key: string, ttl: number | null): Promise<boolean>;
  has(key: string): Promise<boolean>;
  /** Whether it was there, as expected. */
  delete(key: string, options?: Expected): Promise<boolean>;
  /** Adds to the integer at the key, 0 if there is none. No other change comes in between. */
  increment(key: string, by?: number, options?: { ttl?: number }): Promise<number>;
  clear(): Promise<void>;
  keys(prefix?: string): Promise<string[]>;
  entries(prefix?: string): Promise<[string, any][]>;
  size(): Promise<number>;
  [Symbol.asyncIterator](): AsyncIterator<[string, any]>;
}

/** A prop of type `$.service.db`: without promises. */
export interface Database {
  get(key: string): any;
  set(key: string, value: any): number | null;
}

type Values = {
  string: string;
  integer: number;
  number: number;
  boolean: boolean;
  object: Record<string, any>;
  any: any;
  "string[]": string[];
  "integer[]": number[];
  "number[]": number[];
  "boolean[]": boolean[];
  "object[]": Record<string, any>[];
  "any[]": any[];
  data_store: DataStore;
  http_request: PreparedRequest & {
    /** Sends it through the broker and gives the answer's body, parsed if it is JSON; a status of 400 or more is an error. */
    execute(): Promise<any>;
  };
  "$.service.db": Database;
  "$.interface.http": { respond(response: Response): Promise<void> };
  "$.interface.timer": any;
  dir: any;
  alert: undefined;
};

type ValueOf<P> = P extends keyof Values
  ? Values[P]
  : P extends App<infer Methods>
    ? Linked & Methods
    : P extends { type: infer T extends keyof Values }
      ? P extends { optional: true }
        ? Values[T] | undefined
        : Values[T]
      : any;

/** `this` in `run`: the props' values and the methods. */
export type Instance<P, M> = { [K in keyof P]: ValueOf<P[K]> } & M;

export interface Response {
  /** 200 to 599. */
  status?: number;
  headers?: Record<string, string | string[]>;
  /** Objects are sent as JSON. */
  body?: any;
  /** Now, rather than when the workflow ends. */
  immediate?: boolean;
}

export interface HttpRequest {
  method?: string;
  url: string;
  headers?: Record<string, string>;
  params?: Record<string, any>;
  auth?: { username: string; password: string };
  data?: any;
}

/** `$`: the run that a step is part of. */
export interface Dollar {
  /** Records a value; later steps read it as `steps.<step>.<name>`. */
  export(name: string, value: any): void;
  /** Answers the caller of the workflow's trigger. The first call counts. */
  respond(response: Response): Promise<void>;
  flow: {
    /** Ends the workflow, successfully, here. */
    exit(reason?: string): never;
    /** Has the workflow wait between this step and the next; milliseconds, at most a year. */
    delay(milliseconds: number): void;
    /** Has the workflow wait until its resume URL is called; milliseconds, at most. Later steps read `$resume_data`. */
    suspend(milliseconds?: number): { resume_url?: string; cancel_url?: string };
    /** Has the workflow run this step again after so many milliseconds, or when its resume URL is called. */
    rerun(milliseconds?: number, context?: any, retries?: number): { resume_url?: string; cancel_url?: string };
  };
  send: {
    /** Sends a request; the step does not end before it was answered. */
    http(request: HttpRequest): Promise<globalThis.Response>;
  };
  context: { id: string; run: { id: string; runs: number; context?: any; callback_request?: any }; attempt: number; member: string; deadline_ms: number; memory_bytes: number; ts: string; [name: string]: any };
}

export interface Run {
  /** For each earlier step, by name, its exports and its `$return_value`; `trigger.event` is the event. */
  steps: Record<string, any>;
  $: Dollar;
  /** What started the run. */
  event: any;
}

export interface Component<P extends Props, M extends Record<string, (...values: any[]) => any>> {
  /** The step's name, such as `slack-send-message`. The file's name if it is left out. */
  key?: string;
  name?: string;
  description?: string;
  /** A semantic version. */
  version?: string;
  type?: "action" | "source";
  props?: P;
  methods?: M & ThisType<Instance<P, M>>;
  /** Further props, given those that are filled in. */
  additionalProps?(this: Instance<P, M> & Record<string, any>, existing: Record<string, any>): Props | Promise<Props>;
  run(this: Instance<P, M>, run: Run): any;
  [other: string]: any;
}

/** Defines a step. It gives back what it is given: it is there for its types. */
export function defineComponent<const P extends Props = {}, M extends Record<string, (...values: any[]) => any> = {}>(component: Component<P, M>): Component<P, M>;

declare global {
  /** Also there without an import. */
  const defineComponent: typeof import("@keyhole/sdk").defineComponent;
}
