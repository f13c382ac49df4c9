/** What a command can't do, in one sentence with the remedy: nobody needs the stack. */
export class CommandError extends Error {}
