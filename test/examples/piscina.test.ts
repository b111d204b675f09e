import t from 'tap'
import { draw, readImage, toBytes, toText } from '../../examples/image.ts'
import { runExample } from './run.ts'

t.setTimeout(90_000)

t.test('examples/piscina: progress and thumbnails from the pool', async t => {
  const { code, lines, stderr } = await runExample('piscina')
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  for (const name of ['whole', 'seahorses', 'elephants', 'island']) {
    t.strictSame(lines.filter(line => line.startsWith(`${name}: `)), [
      `${name}: 960 x 720, 691215 bytes`,
      `${name}: 0 %`, `${name}: 25 %`, `${name}: 50 %`, `${name}: 75 %`,
      `${name}: a thumbnail of 64 x 48, 3085 bytes`
    ])
  }
  t.ok(lines.some(line => line.includes('@@@@@@@@@@@@@@@@')), 'a picture')
  t.equal(lines.at(-2), '24 published, 24 handled, 0 failed')
})

t.test('its pictures', async t => {
  const picture = draw({ x: -0.6, y: 0 }, 3.2, 8, 6)
  const read = readImage(toBytes(picture))
  t.strictSame({ ...read, pixels: Uint8Array.from(read.pixels) }, picture)
  t.strictSame(toText(picture).split('\n').map(({ length }) => length), [8, 8, 8, 0])
  t.throws(() => readImage(Buffer.from('no picture\n')), { message: /PGM/ })
})
