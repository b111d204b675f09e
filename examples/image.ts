/** A picture in shades of grey, one byte for each pixel. */
export interface Image {
  width: number
  height: number
  pixels: Uint8Array
}

/** As a PGM file: a line of text for the size, then the pixels. */
export function toBytes ({ width, height, pixels }: Image): Buffer {
  return Buffer.concat([Buffer.from(`P5 ${width} ${height} 255\n`), pixels])
}

export function readImage (file: Uint8Array): Image {
  const headerEnd = file.indexOf(10) + 1
  const [, width, height] = Buffer.from(file.subarray(0, headerEnd)).toString().split(' ').map(Number)
  if (!width || !height) throw new Error('this is not a PGM file')
  return { width, height, pixels: file.subarray(headerEnd) }
}

/** Something to look at: the Mandelbrot set, or a detail of it. */
export function draw (centre: { x: number, y: number }, size: number, width = 960, height = 720): Image {
  const pixels = new Uint8Array(width * height)
  for (let i = 0; i < pixels.length; i++) {
    const cx = centre.x + size * ((i % width) / width - 0.5)
    const cy = centre.y + size * (Math.floor(i / width) / height - 0.5) * height / width
    let x = 0
    let y = 0
    let steps = 0
    while (x * x + y * y < 4 && steps < 50) {
      [x, y] = [x * x - y * y + cx, 2 * x * y + cy]
      steps++
    }
    pixels[i] = steps * 5
  }
  return { width, height, pixels }
}

/** For the terminal: each character is a pixel wide and two high. */
export function toText ({ width, height, pixels }: Image): string {
  const shades = ' .:-=+*#%@'
  let text = ''
  for (let y = 0; y < height; y += 2) {
    for (let x = 0; x < width; x++) text += shades[Math.floor(pixels[y * width + x]! / 256 * shades.length)]
    text += '\n'
  }
  return text
}
