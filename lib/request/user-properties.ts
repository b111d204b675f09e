/** User properties of an answer that says why there is none. */
export const ERROR_CODE = 'error-code'
export const ERROR_MESSAGE = 'error-message'
