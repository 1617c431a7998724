// What stands behind a number: told when it is pointed at, focused or tapped.

const tip = byId("tip");
const MARGIN = 8;
let told = null;
let leaving = 0;
let still = false; // since Escape: a number that lay under what it told is not pointed at

function tell(button) {
  clearTimeout(leaving);
  if (told === button) return;
  hush();
  told = button;
  tip.textContent = button.dataset.tip;
  tip.hidden = false;
  button.setAttribute("aria-describedby", "tip");
  place();
}

function place() {
  if (!told) return;
  const at = told.getBoundingClientRect();
  const below = at.bottom + MARGIN;
  const fits = below + tip.offsetHeight <= innerHeight;
  tip.style.top = `${fits ? below : Math.max(MARGIN, at.top - MARGIN - tip.offsetHeight)}px`;
  const most = document.documentElement.clientWidth - tip.offsetWidth - MARGIN;
  tip.style.left = `${Math.max(MARGIN, Math.min(at.left, most))}px`;
}

function hush() {
  told?.removeAttribute("aria-describedby");
  told = null;
  tip.hidden = true;
}

// It stays while the pointer goes over to it, and as long as its number has the focus.
function leave() {
  clearTimeout(leaving);
  leaving = setTimeout(() => { if (document.activeElement !== told) hush(); }, 200);
}

const teller = (event) => event.target.closest?.("[data-tip]");

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !told) return;
  hush();
  still = true;
});
document.addEventListener("pointermove", (event) => {
  if (!still || !(event.movementX || event.movementY)) return;
  still = false;
  if (teller(event)) tell(teller(event));
});
document.addEventListener("pointerover", (event) => {
  if (still) return;
  if (teller(event)) tell(teller(event));
  else if (event.target === tip) clearTimeout(leaving);
});
document.addEventListener("pointerout", (event) => {
  if (teller(event) || event.target === tip) leave();
});
document.addEventListener("focusin", (event) => {
  if (teller(event)) tell(teller(event));
  else hush();
});
document.addEventListener("scroll", place, { capture: true, passive: true });
document.addEventListener("click", (event) => {
  const button = teller(event);
  if (button) {
    button.focus(); // a tap does not, everywhere
    tell(button);
  } else if (!event.target.closest("#tip")) hush();
});
