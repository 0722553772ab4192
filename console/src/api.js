// Calls of the server, with the token that the user typed; the token stays in this tab.
const TOKEN = "hsnn-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN) || "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

export class CallError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

function headers(extra) {
  return token.get() ? { ...extra, Authorization: `Bearer ${token.get()}` } : { ...extra };
}

async function checked(response) {
  if (response.ok) return response;
  let text = `${response.url} answered ${response.status}`;
  try {
    text = (await response.json()).error || text;
  } catch {
    // not the server's own answer, such as a proxy's
  }
  if (response.status === 401) window.dispatchEvent(new Event("token-wanted"));
  throw new CallError(text, response.status);
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError("The server does not answer. See whether it runs.", 0);
  }
}

export async function get(path, signal) {
  return (await checked(await send(path, { headers: headers(), signal }))).json();
}

export async function post(path, body = {}, signal) {
  const options = { method: "POST", headers: headers({ "Content-Type": "application/json" }), signal };
  return (await checked(await send(path, { ...options, body: JSON.stringify(body) }))).json();
}

// Server-sent events by fetch, since EventSource cannot send a token: calls back until the signal is aborted.
export async function live(onNow, onProblem, signal) {
  for (let pause = 500; !signal.aborted; pause = Math.min(2 * pause, 8000)) {
    try {
      const response = await checked(await send("/v1/console/live", { headers: headers(), signal }));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        const events = (text + value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const [name, data] = event.split("\n", 2);
          const content = JSON.parse(data.slice("data: ".length));
          if (name === "event: now") onNow(content);
          else onProblem(content);
          pause = 500;
        }
      }
      onProblem("The connection to the server ended; trying again.");
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return; // asked for a token
      onProblem(error.message);
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
