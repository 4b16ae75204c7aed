/** The actions while a stream plays: revoke, rotate, metadata, ad breaks, on and off air, and a new channel. */

import { act } from "./api.js";
import { busy, byId } from "./dom.js";
import { clearErrors, showProblem } from "./field-errors.js";
import { note } from "./log.js";

/** Wire the forms. `fail(problem)` shows a problem that belongs to no field. */
export function wireActions(channels, fail) {
  onSubmit("revoke-form", async () => {
    const viewerId = byId("revoke-viewer").value;
    const { readmitAfter } = await act("revocations", { channelArn: channels.current.arn, viewerId });
    const next = readmitAfter ? `the next token is issued after ${readmitAfter.slice(11, 19)} UTC` : "the next token plays";
    note("revoked", `the viewer's sessions until now; ${next}`);
  });
  onSubmit("metadata-form", async () => {
    const metadata = byId("metadata").value;
    await act("metadata", { channelArn: channels.current.arn, metadata });
    note("put", `metadata “${metadata}”, which the player reaches in a few seconds`);
    byId("metadata").value = byId("metadata").value.replace(/\d+$/, (number) => Number(number) + 1);
  });
  onSubmit("ad-form", async () => {
    const durationSeconds = Number(byId("ad-seconds").value);
    await act("ad-breaks", { channelArn: channels.current.arn, durationSeconds });
    note("put", `an ad break of ${durationSeconds} s`);
  });
  onClick("rotate", async () => {
    const reply = await act("rotations", { channelArn: channels.current.arn });
    note("rotated", reply.done ? "another key signs now; tokens of the previous key stay valid" : "requested, not done yet");
  });
  onClick("toggle-air", async () => {
    const live = !channels.current.stream;
    await act("streams", { channelArn: channels.current.arn, live });
    note(live ? "on air" : "off air", `the channel's stream was ${live ? "started" : "stopped"}`);
  });
  wireCreation(channels);

  function onSubmit(id, action) {
    const form = byId(id);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearErrors(form);
      run(form.querySelector("button"), action, form);
    });
  }

  function onClick(id, action) {
    byId(id).addEventListener("click", () => run(byId(id), action));
  }

  function run(button, action, form) {
    return busy(button, async () => {
      fail();
      try {
        if (channels.current) await action();
      } catch (problem) {
        const rest = form ? showProblem(form, undefined, problem) : problem.message;
        if (rest) fail(rest);
      }
      await channels.refresh();
    });
  }
}

function wireCreation(channels) {
  const [dialog, form] = [byId("create-dialog"), byId("create-form")];
  channels.addEventListener("create", () => dialog.showModal());
  byId("create-first").addEventListener("click", () => dialog.showModal());
  byId("create-cancel").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearErrors(form, byId("create-error"));
    busy(form.querySelector("button"), async () => {
      try {
        const made = await act("channels", {
          name: byId("create-name").value.trim(),
          authorized: byId("create-authorized").checked,
          ads: byId("create-ads").checked,
        });
        dialog.close();
        await channels.choose(made.arn);
      } catch (problem) {
        showProblem(form, byId("create-error"), problem);
      }
    });
  });
}
