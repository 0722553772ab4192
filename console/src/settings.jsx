// How a request is asked: mode, seen rule, filters and boosts, as a person sets them by hand.
import { useState } from "preact/hooks";
import { plural } from "./format.js";
import { Choice, Empty, Loaded, Panel } from "./parts.jsx";

export const MODES = [
  ["beam", "as served"],
  ["exact", "exact search"],
  ["exhaustive", "every item scored"],
  ["popularity", "popularity"],
  ["covisitation", "co-visitation"],
  ["popularity_filter", "popularity, then the model"],
  ["latest", "the latest items"],
];

const SEEN = [
  ["", "as configured"],
  ["seen", "all that was seen"],
  ["nothing", "nothing"],
];

const TIMES = [
  ["$first_seen", "first seen"],
  ["$last_engaged", "last engaged with"],
  ["$expires_at", "end of availability"],
];

// An index is named by the prefix of its keys; without one the server chooses that of the user's arm.
export const PLAIN = { mode: "beam", index: "", seen: "", filters: {}, boosts: [] };

// What is posted to /v1/retrieve beside the user and the number of items.
export function body({ mode, index, seen, filters, boosts }) {
  const features = Object.fromEntries(Object.entries(filters).filter(([, values]) => values.length));
  return {
    mode,
    ...(index && { index }),
    ...(seen && { seen: { rule: seen } }),
    ...(Object.keys(features).length && { filters: { features } }),
    ...(boosts.length && { boosts: boosts.map((boost) => boost.asked) }),
  };
}

// Settings in a few words, for the heading of a list.
export function words({ mode, index, seen, filters, boosts }) {
  const count = Object.values(filters).reduce((sum, values) => sum + values.length, 0);
  const parts = [MODES.find(([name]) => name === mode)[1]];
  if (index) parts.push(`index ${index}`);
  if (seen) parts.push(seen === "nothing" ? "seen ones, too" : "nothing seen");
  if (count) parts.push(plural(count, "filter"));
  if (boosts.length) parts.push(plural(boosts.length, "boost"));
  return parts.join(", ");
}

export function How({ settings, onChange, k, onCount, indexes, actions }) {
  return (
    <Panel title="How" actions={actions}>
      <div class="fields">
        <Select label="Mode" options={MODES} value={settings.mode} onChange={(mode) => onChange({ ...settings, mode })} />
        {indexes.length > 1 && (
          <Select label="Index" options={[["", "that of the user's arm"], ...indexes.map((name) => [name, name])]} value={settings.index} onChange={(index) => onChange({ ...settings, index })} />
        )}
        <Select label="Left out of what the user has seen" options={SEEN} value={settings.seen} onChange={(seen) => onChange({ ...settings, seen })} />
        <Choice label="How many" options={["10", "20", "50"].map((count) => [count, count])} value={k} onChange={onCount} />
      </div>
    </Panel>
  );
}

function Select({ label, options, value, onChange }) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Filters({ features, chosen, onChange }) {
  const [name, setName] = useState("");
  return (
    <Panel title="Filters" note="an item must have one of the chosen values of every feature">
      <Loaded of={features}>
        {({ values: found }) => {
          const names = Object.keys(found);
          if (!names.length) return <Empty>The items have no features to filter by.</Empty>;
          const shown = name || names[0];
          const values = chosen[shown] || [];
          const count = Object.values(chosen).reduce((sum, list) => sum + list.length, 0);
          return (
            <div class="fields">
              <Select label="Feature" options={names.map((option) => [option, chosen[option]?.length ? `${option} (${chosen[option].length})` : option])} value={shown} onChange={setName} />
              <div class="chips" role="group" aria-label={`Values of ${shown}`}>
                {found[shown].map((value) => (
                  <button
                    type="button"
                    key={String(value)}
                    aria-pressed={values.includes(value)}
                    onClick={() => onChange({ ...chosen, [shown]: values.includes(value) ? values.filter((one) => one !== value) : [...values, value] })}
                  >
                    {String(value)}
                  </button>
                ))}
              </div>
              {count > 0 && (
                <button type="button" onClick={() => onChange({})}>
                  Remove {plural(count, "filter")}
                </button>
              )}
            </div>
          );
        }}
      </Loaded>
    </Panel>
  );
}

const KINDS = [
  ["value", "Value"],
  ["range", "Range"],
  ["recency", "Recency"],
];

// Boosts are {asked: as the server takes it, text: for people}.
export function Boosts({ features, boosts, onChange }) {
  const [kind, setKind] = useState("value");
  const [add, setAdd] = useState("1");
  const amount = Number(add);
  const sized = add.trim() !== "" && Number.isFinite(amount) && amount !== 0;
  function append(text, asked) {
    onChange([...boosts, { text: `${amount > 0 ? "+" : ""}${amount} ${text}`, asked: { add: amount, ...asked } }]);
  }
  const Form = { value: ValueBoost, range: RangeBoost, recency: RecencyBoost }[kind];
  return (
    <Panel title="Boosts" note="added to the score: 0.7 doubles the odds, below zero lowers them">
      <Loaded of={features}>
        {(found) => (
          <div class="fields">
            {boosts.length > 0 && (
              <div class="chips" role="group" aria-label="Boosts; press to remove">
                {boosts.map((boost, index) => (
                  <button type="button" key={`${index} ${boost.text}`} aria-pressed="true" title="Remove" onClick={() => onChange(boosts.filter((one) => one !== boost))}>
                    {boost.text} ×
                  </button>
                ))}
              </div>
            )}
            <Choice label="What is boosted" options={KINDS} value={kind} onChange={setKind} />
            <label>
              Added to the score
              <input type="number" step="any" value={add} onInput={(event) => setAdd(event.currentTarget.value)} />
            </label>
            <Form found={found} sized={sized} onAppend={append} />
          </div>
        )}
      </Loaded>
    </Panel>
  );
}

function ValueBoost({ found, sized, onAppend }) {
  const [field, setField] = useState("");
  const [chosen, setChosen] = useState("0");
  const names = Object.keys(found.values);
  if (!names.length) return <Empty>The items have no features that several of them share.</Empty>;
  const name = field || names[0];
  const values = found.values[name];
  const value = values[Number(chosen)] ?? values[0];
  return (
    <>
      <Select label="Boosted feature" options={names.map((option) => [option, option])} value={name} onChange={(next) => (setField(next), setChosen("0"))} />
      <Select label="Boosted value" options={values.map((option, index) => [String(index), String(option)])} value={chosen} onChange={setChosen} />
      <button type="button" disabled={!sized} onClick={() => onAppend(`${name} ${value}`, { where: { field: name, equal: value } })}>
        Add the boost
      </button>
    </>
  );
}

function RangeBoost({ found, sized, onAppend }) {
  const numbers = Object.keys(found.ranges);
  const options = [...numbers.map((name) => [name, name]), ...TIMES];
  const [field, setField] = useState(options[0][0]);
  const [ends, setEnds] = useState(["", ""]);
  const [from, to] = ends.map((text) => bound(text, field.startsWith("$")));
  const known = found.ranges[field];
  return (
    <>
      <Select label="Number or time" options={options} value={field} onChange={(next) => (setField(next), setEnds(["", ""]))} />
      <div class="pair">
        {["At least", "At most"].map((label, index) => (
          <label key={label}>
            {label}
            <input
              value={ends[index]}
              placeholder={known ? String(known[index]) : "2026-01-31T12:00Z"}
              onInput={(event) => setEnds(ends.map((text, other) => (other === index ? event.currentTarget.value : text)))}
            />
          </label>
        ))}
      </div>
      <button
        type="button"
        disabled={!sized || (from === null && to === null)}
        onClick={() => onAppend(`${named(field)} ${ends[0].trim() || "…"} to ${ends[1].trim() || "…"}`, { where: { field, range: { ...(from !== null && { gte: from }), ...(to !== null && { lte: to }) } } })}
      >
        Add the boost
      </button>
    </>
  );
}

function RecencyBoost({ sized, onAppend }) {
  const [field, setField] = useState(TIMES[0][0]);
  const [hours, setHours] = useState("24");
  const half = Number(hours);
  return (
    <>
      <Select label="Age since" options={TIMES.slice(0, 2)} value={field} onChange={setField} />
      <label>
        Halved every so many hours
        <input type="number" step="any" min="0" value={hours} onInput={(event) => setHours(event.currentTarget.value)} />
      </label>
      <button type="button" disabled={!sized || !(half > 0)} onClick={() => onAppend(`new by ${named(field)}, halved every ${half} h`, { recency: { half_life_hours: half, field } })}>
        Add the boost
      </button>
    </>
  );
}

const named = (field) => TIMES.find(([name]) => name === field)?.[1] || field;

// An end of a range: a number, or a time as the server reads it, epoch ms or ISO 8601; null where the range is open.
function bound(text, time) {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  const numeric = time ? /^\d{9,}$/.test(trimmed) : Number.isFinite(Number(trimmed));
  return numeric ? Number(trimmed) : trimmed;
}
