// The explorer without a kernel: answers from what was worked out beforehand, for one sample and one change at a time.

function still(data) {
  const url = (i) => data.pictures[i];
  const view = (v) => ({ ...v, pictures: v.pictures.map(url) });
  const detail = ({ codes, ...rest }) => ({
    ...rest,
    error: "",
    codes: codes.map(({ after, end, ...code }) => ({ ...code, after: url(after), end: url(end) })),
  });
  const first = view(data.view);
  const state = { frame: data.frame, view: first, detail: detail(data.details[data.chosen]) };
  const listeners = {};
  const set = (changes) => {
    Object.assign(state, changes);
    for (const name of Object.keys(changes)) for (const update of listeners[`change:${name}`] ?? []) update();
  };
  let turn = 0;
  // From one change to the next by way of the first sample, so that "changed" compares with it.
  const to = (other) => {
    if (state.view !== first) set({ view: { ...first, fresh: true } });
    return other ? view(other) : { ...first, fresh: true };
  };
  const answers = {
    choose: ({ k, place }) => {
      const back = state.view.undo ? { view: to() } : {};
      set({ ...back, detail: detail(data.details[`${k},${place}`]) });
    },
    swap: ({ k, place, code }) => set({ view: to(data.swaps[`${k},${place},${code}`]), detail: { ...state.detail } }),
    redraw: ({ k }) => set({ view: to(data.redraws[k][turn++ % data.redraws[k].length]), detail: { ...state.detail } }),
    undo: () => set({ view: to(), detail: { ...state.detail } }),
  };
  return {
    get: (name) => state[name],
    send: (message) => answers[message.do](message),
    on: (event, update) => (listeners[event] ??= []).push(update),
    off: () => {},
  };
}
