/**
 * The modules that late files of dist take from the bundle, where their state is, by the names of their sources. The build fills this in
 * and hands it to them (tsup.config.ts): nobody else has a use for it.
 */
export const core: Record<string, unknown> = {}
