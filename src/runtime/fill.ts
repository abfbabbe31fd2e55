/** Fills large buffers from a short pattern, on the device. */

/** Bytes copied at a time: few copies even for gigabytes. */
const PIECE_BYTES = 16 * 1024 * 1024;

/**
 * Repeats `pattern` through the whole of `buffer` (usage COPY_DST); takes effect before work submitted later.
 *
 * `pattern` has a multiple of 4 bytes. What the device objects to is reported by `Gpu.check`.
 */
export function fillBuffer(device: GPUDevice, buffer: GPUBuffer, pattern: Uint8Array<ArrayBuffer>): void {
  fillRange(device, buffer, 0, buffer.size, pattern);
}

/** The same for `size` bytes from `offset` on, both multiples of 4. */
export function fillRange(
  device: GPUDevice,
  buffer: GPUBuffer,
  offset: number,
  size: number,
  pattern: Uint8Array<ArrayBuffer>,
): void {
  if (pattern.length >= size) {
    device.queue.writeBuffer(buffer, offset, pattern, 0, size);
    return;
  }
  const repeats = Math.max(1, Math.floor(Math.min(PIECE_BYTES, size) / pattern.length));
  const piece = device.createBuffer({
    label: 'pattern',
    size: repeats * pattern.length,
    usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  for (let i = 0; i < repeats; i++) device.queue.writeBuffer(piece, i * pattern.length, pattern);
  const encoder = device.createCommandEncoder();
  for (let at = 0; at < size; at += piece.size) {
    encoder.copyBufferToBuffer(piece, 0, buffer, offset + at, Math.min(piece.size, size - at));
  }
  device.queue.submit([encoder.finish()]);
  piece.destroy();
}
