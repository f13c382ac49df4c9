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
}

export interface Patch {
  /** The package, or a built-in module without `node:`. */
  module: string
  /** A range as npm writes it, such as `>=0.9.3 <1` or `^1.2.0`. Absent: every version. Built-in modules have none. */
  versions?: string
  /** The file within the package, with forward slashes. Absent: its main file. */
  file?: string
  /** What only this file's text matches: by it, the package is recognized within a bundle, where it can't be patched. */
  sign?: RegExp
  /**
   * Changes the module's exports in place, by `plugin.wrap`, at once. It may return a function in place of an export that
   * is a function itself. When it throws, the plugin is off for the process, and nothing of it stays.
   */
  patch(exports: any, plugin: PluginHandle): unknown
}

/** A plugin's hold on the process. */
export interface PluginHandle {
  readonly name: string
  /** False once it has failed: every wrapper checks it first, and then only calls the original. */
  readonly enabled: boolean
  /** Switches the plugin off for the process and says so, once. Call it with whatever your own code threw. */
  fail(error: unknown): void
  /** Replaces `target[name]` by what `make` returns, keeping its length, name and enumerability. */
  wrap<F extends Function>(target: any, name: string, make: (original: F) => F): void
  /** Gives `replacement` the length and name of `original`. */
  imitate<F extends Function>(original: F, replacement: F): F
}
