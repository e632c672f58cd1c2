// Signing in and out. The key becomes a cookie that no script can read; this page keeps it nowhere.

import { ApiError, get, post, remove } from "./api.js";
import { byId } from "./dom.js";

/** Whether the page may ask for figures. Where it may not, the form that changes that is shown. */
export async function signedIn() {
  let session;
  try {
    session = await get("session", {}, undefined, 8);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return true; // who shows the figures shows what is wrong, too
  }
  byId("sign-out").hidden = session.open || !session.role;
  if (session.role) return true;
  showForm();
  return false;
}

/** Called where a key that was good is so no more: the page begins anew, with nothing on it. */
export function signInAgain() {
  location.reload();
}

function showForm() {
  const form = byId("sign-in");
  const problem = form.querySelector(".problem");
  const button = form.querySelector("button");
  document.body.dataset.signedOut = "";
  form.hidden = false;
  form.elements.key.focus();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    try {
      await post("session", { key: form.elements.key.value });
      location.reload();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.textContent = error.status === 401 ? "This key is not known here." : `That did not work: ${error.message}.`;
      form.elements.key.select();
    } finally {
      button.disabled = false;
    }
  });
}

byId("sign-out").addEventListener("click", async () => {
  await remove("session");
  location.reload();
});
