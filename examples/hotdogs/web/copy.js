// What both pages need. Text is only ever set as text: much of it was written by others.

export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// A button that copies an ID. Where the clipboard is closed it selects the ID on the page, and shows the
// whole of it first.
export function copyButton(text, shown, what = 'ID') {
  const button = element('button', 'copy', 'Copy');
  button.type = 'button';
  button.setAttribute('aria-label', `Copy the ${what} ${text}`);
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      shown.textContent = text;
      getSelection().selectAllChildren(shown);
      button.textContent = 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
  return button;
}
