import t from 'tap'
import { checkMutated, mutatedStreams } from '../wire/arbitraries.ts'

/* Promise P23: streams of one to four packets, broken in one to three places and split anywhere; the seeds are printed. */

t.setTimeout(600_000)

const STREAMS = 500_000

for (const version of [5, 4] as const) {
  t.test(`P23: ${STREAMS} mutated streams: MQTT ${version === 5 ? '5' : '3.1.1'}`, t => {
    const seed = Math.floor(Math.random() * 2 ** 31)
    t.comment(`seed ${seed}`)
    let checked = 0
    for (const stream of mutatedStreams(seed, STREAMS, version)) {
      const wrong = checkMutated(stream, version)
      if (wrong !== null) {
        t.fail(wrong, { seed, stream: stream.wire.toString('hex'), chunks: stream.chunks.map(({ length }) => length) })
        break
      }
      checked++
    }
    t.equal(checked, STREAMS)
    t.comment(`${checked} streams, none made up a packet, none threw anything but MalformedPacket`)
    t.end()
  })
}
