// A picture that nobody took: mountains at dusk over a lake, painted by the browser. For functions that run in a page.

export function paint({ width, height, type, quality }) {
  let seed = 7;
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const drawing = canvas.getContext('2d');
  const shore = height * 0.66;
  const gradient = (x0, y0, x1, y1, stops) => {
    const made = drawing.createLinearGradient(x0, y0, x1, y1);
    stops.forEach(([at, colour]) => made.addColorStop(at, colour));
    return made;
  };
  // Rough lines out of smooth ones, each finer and flatter than the one before.
  const ridge = (octaves, roughness) => {
    const waves = Array.from({ length: octaves }, (_, i) => {
      const points = Array.from({ length: 3 * 2 ** i + 2 }, random);
      return { points, height: roughness ** i };
    });
    return (share) => waves.reduce((sum, { points, height: tall }) => {
      const at = share * (points.length - 2);
      const low = Math.floor(at);
      const eased = (1 - Math.cos(Math.PI * (at - low))) / 2;
      return sum + tall * (points[low] * (1 - eased) + points[low + 1] * eased - 0.5);
    }, 0);
  };

  drawing.fillStyle = gradient(0, 0, 0, shore, [[0, '#16284f'], [0.4, '#4b5f92'], [0.68, '#c98d8f'], [0.86, '#f4b683'], [1, '#fbd9a0']]);
  drawing.fillRect(0, 0, width, shore);
  for (let star = 0; star < 160; star += 1) {
    const y = random() ** 1.8 * shore * 0.5;
    drawing.fillStyle = `rgba(255,250,235,${(1 - y / (shore * 0.5)) * random() * 0.9})`;
    const size = height * (0.0007 + random() * 0.0012);
    drawing.fillRect(random() * width, y, size, size);
  }
  const sun = { x: width * 0.63, y: shore * 0.64 };
  const glow = drawing.createRadialGradient(sun.x, sun.y, 0, sun.x, sun.y, width * 0.38);
  [[0, 'rgba(255,236,190,0.95)'], [0.06, 'rgba(255,222,165,0.75)'], [0.25, 'rgba(255,190,130,0.3)'], [1, 'rgba(255,170,120,0)']].forEach(([at, colour]) => glow.addColorStop(at, colour));
  drawing.fillStyle = glow;
  drawing.fillRect(0, 0, width, shore);
  drawing.fillStyle = '#fff3d2';
  drawing.beginPath();
  drawing.arc(sun.x, sun.y, height * 0.028, 0, 7);
  drawing.fill();

  const layers = [
    { base: 0.80, tall: 0.30, top: '#8b7fa6', foot: '#e3b6a4' },
    { base: 0.88, tall: 0.26, top: '#5f628f', foot: '#b494a2' },
    { base: 0.95, tall: 0.20, top: '#3a456f', foot: '#79718d' },
    { base: 1.00, tall: 0.12, top: '#1e2b4a', foot: '#3c4464' },
  ];
  for (const { base, tall, top, foot } of layers) {
    const line = ridge(8, 0.52);
    drawing.fillStyle = gradient(0, shore * (base - tall * 0.6), 0, shore, [[0, top], [1, foot]]);
    drawing.beginPath();
    drawing.moveTo(0, shore);
    for (let x = 0; x <= width; x += 1) drawing.lineTo(x, shore * (base - tall * 0.35 - tall * 0.62 * line(x / width)));
    drawing.lineTo(width, shore);
    drawing.fill();
  }
  // The far shore's trees.
  const bank = ridge(6, 0.6);
  drawing.fillStyle = '#131d33';
  for (let x = 0; x < width; x += height * 0.0035) {
    const tall = height * (0.012 + 0.016 * random() + 0.012 * (bank(x / width) + 0.5));
    drawing.beginPath();
    drawing.moveTo(x - tall * 0.2, shore + 2);
    drawing.lineTo(x, shore - tall);
    drawing.lineTo(x + tall * 0.2, shore + 2);
    drawing.fill();
  }

  // The lake: what is above it, upside down, a row at a time, each moved a little.
  for (let y = 0; y < height - shore; y += 1) {
    const depth = y / (height - shore);
    const from = Math.max(0, shore - 1 - y * 1.55);
    const shift = Math.sin(y * 0.21 + Math.sin(y * 0.043) * 4) * (1 + depth * 9) + (random() - 0.5) * depth * 6;
    drawing.drawImage(canvas, 0, from, width, 1, shift, shore + y, width, 1);
    if (shift > 0) drawing.drawImage(canvas, 0, from, 1, 1, 0, shore + y, shift + 1, 1);
    else drawing.drawImage(canvas, width - 1, from, 1, 1, width + shift - 1, shore + y, 1 - shift, 1);
  }
  drawing.fillStyle = gradient(0, shore, 0, height, [[0, 'rgba(12,20,42,0.12)'], [1, 'rgba(8,13,30,0.72)']]);
  drawing.fillRect(0, shore, width, height - shore);
  for (let glint = 0; glint < 240; glint += 1) {
    const depth = random() ** 1.4;
    const y = shore + depth * (height - shore);
    const spread = width * (0.012 + depth * 0.09);
    drawing.fillStyle = `rgba(255,224,170,${0.5 * (1 - depth) * random() + 0.05})`;
    drawing.fillRect(sun.x + (random() + random() - 1) * spread, y, width * (0.004 + random() * 0.018), height * 0.0012);
  }

  // Pines close by.
  const pine = (x, foot, tall) => {
    drawing.fillStyle = '#070c18';
    drawing.beginPath();
    drawing.moveTo(x, foot - tall * 1.02);
    drawing.lineTo(x + tall * 0.014, foot);
    drawing.lineTo(x - tall * 0.014, foot);
    drawing.fill();
    for (let at = 0.04; at < 0.96; at += 0.022) {
      const reach = tall * 0.2 * at * (0.72 + 0.5 * random());
      const y = foot - tall * (1 - at);
      drawing.beginPath();
      drawing.moveTo(x, y - tall * 0.03);
      drawing.lineTo(x + reach, y + tall * (0.012 + 0.02 * random()));
      drawing.lineTo(x, y + tall * 0.008);
      drawing.lineTo(x - reach, y + tall * (0.012 + 0.02 * random()));
      drawing.fill();
    }
  };
  [[0.045, 1.02, 0.62], [0.115, 1.04, 0.46], [0.0, 1.03, 0.4], [0.17, 1.05, 0.33], [0.955, 1.03, 0.52], [0.905, 1.05, 0.36], [1.0, 1.03, 0.42]]
    .forEach(([x, foot, tall]) => pine(x * width, foot * height, tall * height));

  // Grain, as any sensor has it.
  const pixels = drawing.getImageData(0, 0, width, height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const noise = (random() + random() - 1) * 7;
    for (let channel = 0; channel < 3; channel += 1) pixels.data[i + channel] += noise;
  }
  drawing.putImageData(pixels, 0, 0);
  return new Promise((resolve) => {
    canvas.toBlob((blob) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.split(',')[1]);
      reader.readAsDataURL(blob);
    }, type ?? 'image/jpeg', quality ?? 0.92);
  });
}
