// Requests to the server beside the socket.

/** What the server refused, in its own words. */
export class Refused extends Error {}

async function answered(answer) {
  if (answer.ok) return answer;
  let text = `${answer.status} ${answer.statusText}`;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // No JSON: the status has to do.
  }
  throw new Refused(text);
}

export async function get(path) {
  return (await answered(await fetch(path))).json();
}

/** Sends an object as JSON. */
export async function send(method, path, body = {}) {
  const answer = await answered(
    await fetch(path, {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }),
  );
  return answer.status === 204 ? null : answer.json();
}

/** Uploads a MIDI file. */
export async function upload(file) {
  const answer = await answered(
    await fetch(`/api/uploads?name=${encodeURIComponent(file.name)}`, {
      method: "POST",
      headers: { "Content-Type": "audio/midi" },
      body: file,
    }),
  );
  return answer.json();
}

/** Sends an object and reads the lines of JSON that come back. */
export async function* lines(path, body, signal) {
  const answer = await answered(
    await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    }),
  );
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) yield JSON.parse(part);
  }
  if (rest.trim()) yield JSON.parse(rest);
}
