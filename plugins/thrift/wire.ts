/** Numbers of Thrift's protocols. */

/** Types of fields. */
export const STOP = 0
export const BYTE = 3
export const STRING = 11
export const MAP = 13
export const LIST = 15

/** Types of messages. */
export const CALL = 1
export const REPLY = 2
export const EXCEPTION = 3
export const ONEWAY = 4
/** The name of what a message of type EXCEPTION holds. */
export const APPLICATION_EXCEPTION = 'TApplicationException'
/** The original Milo's: a call with ids between its header and its arguments. */
export const CALLTRACE = 5
