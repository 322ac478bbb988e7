
// The button is of use only with this script, so it is hidden until here.
const [id, copy, said] = ['id', 'copy', 'said'].map((name) => document.getElementById(name));
copy.hidden = false;
copy.addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(id.textContent);
    said.textContent = 'Copied';
  } catch {
    // The clipboard is closed to this page. The ID is selected, so that the keyboard can copy it.
    getSelection().selectAllChildren(id);
    said.textContent = 'Selected';
  }
});
