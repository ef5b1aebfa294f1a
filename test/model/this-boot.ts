/** Which start of the kernel this is: the model can start it anew. */
export const boot = { number: 1 };

/** Whether a sender shows a sample of what did not change. */
export const sampling = { isOn: true };
