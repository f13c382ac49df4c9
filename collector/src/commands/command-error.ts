/** A command can't do what it was asked to: one sentence with the remedy. It is logged without its stack. */
export class CommandError extends Error {}

/** The command line is wrong: the exit status is 2. */
export class UsageError extends Error {}
