// A person without a mouse.
import { check } from './check.mjs';

const LONGEST_WAY = 60;

// Presses Tab until the focus is on the element of the selector. On the whole way, the focus has to be visible.
export async function tabTo(page, selector) {
  const way = [];
  for (let count = 0; count < LONGEST_WAY; count += 1) {
    await page.keyboard.press('Tab');
    const { isThere, ...focus } = await page.evaluate(look, selector);
    way.push(focus.name);
    if (focus.name === 'body') continue;
    check(focus.outline >= 2, `the focus on ${focus.name} is not visible: its outline is ${focus.outline} px`);
    check(focus.isInside, `the focus on ${focus.name} is outside of the window`);
    if (isThere) return;
  }
  check(false, `Tab does not lead to ${selector}, but to ${way.join(', ')}`);
}

// Checks the focus where it is.
export async function hasFocus(page, selector) {
  const { isThere, name, outline } = await page.evaluate(look, selector);
  check(isThere, `the focus is on ${name}, and not on ${selector}`);
  check(outline >= 2, `the focus on ${name} is not visible: its outline is ${outline} px`);
}

// Runs in the page.
function look(selector) {
  const focused = document.activeElement;
  const name = focused.id || focused.textContent.trim().slice(0, 40) || focused.localName;
  if (focused === document.body) return { name: 'body', isThere: false, outline: 0 };
  // The label of a hot dog has the outline in place of its button.
  const widths = [focused, focused.closest('label')].filter(Boolean).map((element) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    return outlineStyle === 'none' ? 0 : parseFloat(outlineWidth);
  });
  const { top, bottom, left, right } = focused.getBoundingClientRect();
  return {
    name,
    isThere: focused.matches(selector),
    outline: Math.max(...widths),
    isInside: bottom > 0 && top < innerHeight && right > 0 && left < innerWidth,
  };
}
