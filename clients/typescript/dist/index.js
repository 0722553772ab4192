// Built by make client from sources with SHA-256 d7a0080d5fe7544816d5bbe872c64c7a1869904673d84ab8d4928e3473ab5c87.
/** Client of the HTTP API of hsnn. Its types are those of the server's OpenAPI document. */
/** The server cannot be reached, or refused: `status` is its HTTP status, 0 without an answer. */
export class HsnnError extends Error {
    status;
    retryAfter;
    constructor(message, status, 
    /** Milliseconds after which the server takes the call again, as it says; 0 where it says nothing. */
    retryAfter = 0) {
        super(message);
        this.status = status;
        this.retryAfter = retryAfter;
        this.name = "HsnnError";
    }
}
// Statuses after which the same call may succeed; 504 is not among them: the call was too large, and would be again.
const REPEATED = new Set([0, 429, 502, 503]);
// Milliseconds of the first pause before a repetition; each is twice as long as the one before, up to a second.
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 1000;
/** Client of one server. All calls may be repeated: those that write do so once per event id. */
export class Client {
    #url;
    #headers;
    #timeout;
    #retries;
    constructor(url, { token, timeout = 5000, retries = 2 } = {}) {
        this.#url = url.replace(/\/+$/, "");
        this.#headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
        this.#timeout = timeout;
        this.#retries = retries;
    }
    /** Retrieve items for one user. */
    retrieve(request) {
        return this.#call("POST", "/v1/retrieve", request);
    }
    /** Answer many requests, in their order. */
    async retrieveMany(queries) {
        const body = await this.#call("POST", "/v1/retrieve_many", { queries });
        return body.answers;
    }
    /** Find items like given ones. */
    similar(request) {
        return this.#call("POST", "/v1/similar", request);
    }
    /** List the most popular items. */
    popular(request = {}) {
        return this.#call("POST", "/v1/popular", request);
    }
    /** List the newest items. */
    latest(request = {}) {
        return this.#call("POST", "/v1/latest", request);
    }
    /** Get the version in use, its position and sizes. */
    version() {
        return this.#call("GET", "/v1/version");
    }
    /** Get node, state and features of an item. */
    item(id) {
        return this.#call("GET", `/v1/items/${encodeURIComponent(id)}`);
    }
    /** Get history and past items of a user. */
    user(id) {
        return this.#call("GET", `/v1/users/${encodeURIComponent(id)}`);
    }
    /** Append events to the log; resolves to how many, once they are in it. The token needs the scope `write`. */
    async sendEvents(events) {
        const body = await this.#call("POST", "/v1/events", events);
        return body.accepted;
    }
    async #call(method, path, body) {
        const end = Date.now() + this.#timeout;
        for (let failures = 1;; failures++) {
            try {
                return await this.#attempt(method, path, body, Math.max(end - Date.now(), 1));
            }
            catch (error) {
                if (!(error instanceof HsnnError))
                    throw error;
                const pause = Math.max(error.retryAfter, Math.min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE));
                if (!REPEATED.has(error.status) || failures > this.#retries || Date.now() + pause >= end)
                    throw error;
                await new Promise((resume) => setTimeout(resume, pause));
            }
        }
    }
    async #attempt(method, path, body, timeout) {
        let response;
        let text;
        try {
            response = await fetch(this.#url + path, {
                method,
                headers: body === undefined ? this.#headers : { ...this.#headers, "Content-Type": "application/json" },
                body: body === undefined ? undefined : JSON.stringify(body),
                signal: AbortSignal.timeout(timeout),
            });
            text = await response.text();
        }
        catch (error) {
            throw new HsnnError(`${this.#url} does not answer (${String(error)}); is it up?`, 0);
        }
        if (response.ok)
            return JSON.parse(text);
        throw new HsnnError(detail(text) ?? `${response.url} answered ${response.status}`, response.status, 1000 * (Number(response.headers.get("Retry-After")) || 0));
    }
}
/** The text of an error of the server; undefined where something else answered. */
function detail(text) {
    try {
        const problem = JSON.parse(text);
        return typeof problem.detail === "string" ? problem.detail : undefined;
    }
    catch {
        return undefined;
    }
}
