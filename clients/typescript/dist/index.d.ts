/** Client of the HTTP API of hsnn. Its types are those of the server's OpenAPI document. */
import type { components } from "./schema.js";
type Schemas = components["schemas"];
export type Answer = Schemas["Answer"];
export type Id = string | number;
export type Request = Schemas["Request"];
export type SimilarRequest = Schemas["SimilarRequest"];
export type ListRequest = Schemas["ListRequest"];
export type ItemDescription = Schemas["ItemDescription"];
export type UserDescription = Schemas["UserDescription"];
export type VersionSummary = Schemas["VersionSummary"];
/** An event of the log; `type` says which. */
export type Event = Schemas["Interaction"] | Schemas["Impression"] | Schemas["Item"] | Schemas["ItemPatch"] | Schemas["User"];
export interface Options {
    /** Bearer token, if the server requires one. */
    token?: string;
    /** Milliseconds that a call may take, at most, with its repetitions; 5,000 unless given. */
    timeout?: number;
    /** How often a call is repeated that got no answer, or whose status says that it may succeed later; 2 unless given. */
    retries?: number;
}
/** The server cannot be reached, or refused: `status` is its HTTP status, 0 without an answer. */
export declare class HsnnError extends Error {
    readonly status: number;
    /** Milliseconds after which the server takes the call again, as it says; 0 where it says nothing. */
    readonly retryAfter: number;
    constructor(message: string, status: number, 
    /** Milliseconds after which the server takes the call again, as it says; 0 where it says nothing. */
    retryAfter?: number);
}
/** Client of one server. All calls may be repeated: those that write do so once per event id. */
export declare class Client {
    #private;
    constructor(url: string, { token, timeout, retries }?: Options);
    /** Retrieve items for one user. */
    retrieve(request: Request): Promise<Answer>;
    /** Answer many requests, in their order. */
    retrieveMany(queries: Request[]): Promise<Answer[]>;
    /** Find items like given ones. */
    similar(request: SimilarRequest): Promise<Answer>;
    /** List the most popular items. */
    popular(request?: ListRequest): Promise<Answer>;
    /** List the newest items. */
    latest(request?: ListRequest): Promise<Answer>;
    /** Get the version in use, its position and sizes. */
    version(): Promise<VersionSummary>;
    /** Get node, state and features of an item. */
    item(id: Id): Promise<ItemDescription>;
    /** Get history and past items of a user. */
    user(id: Id): Promise<UserDescription>;
    /** Append events to the log; resolves to how many, once they are in it. The token needs the scope `write`. */
    sendEvents(events: Event[]): Promise<number>;
}
export {};
