/** What a plugin is, and its hold on the process. */

export interface Plugin {
  /** Short and unique: MILO_PLUGINS and messages use it. */
  name: string
  patches: Patch[]
  /**
   * Sees the exports of every CommonJS module once it has been loaded: for code that belongs to no package, as generated
   * code does. Look with Object.getOwnPropertyDescriptor: a getter is the application's to call. When it throws, what it
   * has wrapped for this module is taken back, and the module stays as it is.
   * @param file the module's
   */
  onLoad?(exports: any, plugin: PluginHandle, file: string): void
  /** A regular expression that matches the sources of modules that `onLoad` looks for: of a bundle it is shown these alone. */
  sign?: RegExp
}

export interface Patch {
  /** The package, or a built-in module without `node:`. */
  module: string
  /** A range as npm writes it, such as `>=0.9.3 <1` or `^1.2.0`. Absent: every version. Built-in modules have none. */
  versions?: string
  /** The file within the package, with forward slashes. Absent: its main file. */
  file?: string
  /**
   * Whether the file is an ES module; `file` must name it. The exports are an object then: what is put in it replaces the
   * module's, for all that import it, where that has a name within the module (`export default () => …` has none).
   */
  esm?: boolean
  /** A regular expression that matches this file alone. It recognizes the package within a bundle that was built without milo/bundler. */
  sign?: RegExp
  /**
   * Recognizes a copy of the file by what it exports, under the same name in another package or in a folder of the application's.
   * Look with Object.getOwnPropertyDescriptor: a getter is the application's to call. Copies have no version to be checked.
   */
  copies?(exports: any): boolean
  /**
   * Changes the module's exports in place, by `plugin.wrap`, at once. It may return a function in place of an export that
   * is a function itself. When it throws, the plugin is off for the process, and nothing of it stays.
   */
  patch(exports: any, plugin: PluginHandle): unknown
}

/** A function whose `this`, arguments and result are the application's. */
export type Wrapped = (this: any, ...args: any[]) => any

export type Emit = (emitter: any, event: string | symbol, args: unknown[]) => boolean

/** A plugin's hold on the process. */
export interface PluginHandle {
  readonly name: string
  /** False once the plugin has failed: a wrapper then only calls the original. */
  readonly enabled: boolean
  /** Switches the plugin off for the process and says so, once. Call it with what your own code threw. */
  fail(error: unknown): void
  /**
   * Has `call` called in the place of `target[name]`, which keeps its length, name and properties. While the plugin is off or
   * nothing is traced, the original alone is called. What `call` throws of its own switches the plugin off, and the
   * application gets what the original gave or threw.
   * @param call is given the original, `this` and the arguments, and returns what the application gets
   */
  intercept(target: any, name: string, call: (original: Wrapped, self: any, args: any[]) => unknown): void
  /** The same without the barrier, for hot paths: `make` returns the wrapper, which checks `enabled` and catches its errors. */
  wrap(target: any, name: string, make: (original: Wrapped) => Wrapped): void
  /**
   * Stands before the `emit` of one emitter, or of all that inherit a prototype's. No listener is added, so that counts and
   * defaults stay as they are.
   * @param around is given the emitter, the event, its arguments and `emit`, which it must call once; it catches its own errors
   * @param wants says quickly, and without an error, for which events `around` is called; absent: for all
   */
  watchEmit(
    target: any,
    around: (emitter: any, event: string | symbol, args: any[], emit: Emit) => boolean,
    wants?: (emitter: any, event: string | symbol) => boolean,
  ): void
  /**
   * A function that runs `callback` in the context in which this is called. What isn't a function is returned as it is, and so
   * is everything while the plugin is off or nothing is traced.
   */
  bind<C>(callback: C): C
  /** Gives `replacement` the length, name and properties of `original`. */
  imitate<F extends Function>(original: F, replacement: Function): F
}
