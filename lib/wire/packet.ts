/*
 * The vocabulary of MQTT 3.1, 3.1.1 and 5 on the wire. Nothing here is imported from elsewhere,
 * because worker threads load it too.
 */

/** The type in the high nibble of a packet's first byte (MQTT 5 section 2.1.2). */
export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15
} as const

/** One of the values of {@link PacketType}. */
export type PacketType = typeof PacketType[keyof typeof PacketType]

/** Quality of service (MQTT 5 section 4.3). */
export type QoS = 0 | 1 | 2

/** 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5. */
export type ProtocolVersion = 3 | 4 | 5

/** The properties that a publish may carry (MQTT 5 section 3.3.2.3); MQTT 3.1.1 has none. */
export interface PublishProperties {
  /** True says that the payload is UTF-8 text. */
  payloadFormatIndicator?: boolean
  /** Seconds after which the broker drops what it could not deliver. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Uint8Array
  /** A name that occurs more than once has a list of values. */
  userProperties?: Record<string, string | string[]>
}

/**
 * The properties that came with a message (MQTT 5 section 3.3.2.3). Subscription identifiers are not among them:
 * they say how the message got here, not what it is. `userProperties` has no prototype.
 */
export interface ReceivedProperties extends PublishProperties {
  /** A view on what was read, valid for as long as the payload is. */
  correlationData?: Buffer
}

/** The largest value of a variable byte integer, so of a remaining length (MQTT 5 section 1.5.5). */
export const MAX_VARINT = 268_435_455

/** The largest length of a string or of binary data (MQTT 5 section 1.5.4). */
export const MAX_STRING = 65_535

/**
 * What Node's Buffer has and its types do not list. They skip the lookup of the encoding,
 * which for a topic costs more than the copying does.
 */
export type NativeBuffer = Buffer & {
  latin1Slice (start: number, end: number): string
  utf8Slice (start: number, end: number): string
  latin1Write (text: string, offset: number, length: number): number
  utf8Write (text: string, offset: number, length: number): number
}

/** How many bytes a variable byte integer takes (MQTT 5 section 1.5.5). */
export function varintLength (value: number): number {
  return value < 128 ? 1 : value < 16_384 ? 2 : value < 2_097_152 ? 3 : 4
}

/** Writes a variable byte integer and returns where it ends (MQTT 5 section 1.5.5). */
export function writeVarint (target: Uint8Array, offset: number, value: number): number {
  while (value > 127) {
    target[offset++] = (value & 127) | 128
    value >>>= 7
  }
  target[offset++] = value
  return offset
}

// Control characters and noncharacters as MQTT 5 section 1.5.4 lists them, and what UTF-8 cannot hold.

/** The caller's text, short and on one line, for an error that names it. */
export function quote (text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)
}

const reasonNames: Readonly<Record<number, string>> = {
  0x00: 'Success',
  0x01: 'Granted QoS 1',
  0x02: 'Granted QoS 2',
  0x04: 'Disconnect with Will Message',
  0x10: 'No matching subscribers',
  0x11: 'No subscription existed',
  0x18: 'Continue authentication',
  0x19: 'Re-authenticate',
  0x80: 'Unspecified error',
  0x81: 'Malformed Packet',
  0x82: 'Protocol Error',
  0x83: 'Implementation specific error',
  0x84: 'Unsupported Protocol Version',
  0x85: 'Client Identifier not valid',
  0x86: 'Bad User Name or Password',
  0x87: 'Not authorized',
  0x88: 'Server unavailable',
  0x89: 'Server busy',
  0x8a: 'Banned',
  0x8b: 'Server shutting down',
  0x8c: 'Bad authentication method',
  0x8d: 'Keep Alive timeout',
  0x8e: 'Session taken over',
  0x8f: 'Topic Filter invalid',
  0x90: 'Topic Name invalid',
  0x91: 'Packet Identifier in use',
  0x92: 'Packet Identifier not found',
  0x93: 'Receive Maximum exceeded',
  0x94: 'Topic Alias invalid',
  0x95: 'Packet too large',
  0x96: 'Message rate too high',
  0x97: 'Quota exceeded',
  0x98: 'Administrative action',
  0x99: 'Payload format invalid',
  0x9a: 'Retain not supported',
  0x9b: 'QoS not supported',
  0x9c: 'Use another server',
  0x9d: 'Server moved',
  0x9e: 'Shared Subscriptions not supported',
  0x9f: 'Connection rate exceeded',
  0xa0: 'Maximum connect time',
  0xa1: 'Subscription Identifiers not supported',
  0xa2: 'Wildcard Subscriptions not supported'
}

const connectRefusals: Readonly<Record<number, string>> = {
  0: 'Connection accepted',
  1: 'Unacceptable protocol version',
  2: 'Identifier rejected',
  3: 'Server unavailable',
  4: 'Bad user name or password',
  5: 'Not authorized'
}

function named (code: number, names: Readonly<Record<number, string>>): string {
  return `0x${code.toString(16).padStart(2, '0')} ${names[code] ?? 'unknown code'}`
}

/** A reason code with its standard name, `0x87 Not authorized` (MQTT 5 section 2.4). */
export function reasonName (code: number): string {
  return named(code, reasonNames)
}

/** A return code of CONNACK with its name, `0x05 Not authorized` (MQTT 3.1.1 section 3.2.2.3). */
export function connectRefusalName (returnCode: number): string {
  return named(returnCode, connectRefusals)
}
