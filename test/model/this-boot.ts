/** Which start of the kernel this is: the model can start it anew. */
export const boot = { number: 1 };
