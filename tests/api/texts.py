"""Two things that people complain about, in words of their own."""

PAYMENT = [
    "I was charged twice for the same order",
    "My card was charged two times at checkout",
    "You billed me double this month",
    "There is a duplicate charge on my credit card",
    "The same payment was taken twice",
    "Why do I see two charges for one purchase?",
    "Charged twice again, please refund one of them",
    "My bank shows the payment two times",
    "Duplicate billing on my account",
    "I paid once but was billed twice",
    "Two identical charges for a single order",
    "My subscription was charged twice today",
]
LOGIN = [
    "I cannot log in since the update",
    "The login page keeps loading for ever",
    "My password is right but I cannot sign in",
    "Sign in fails with an unknown error",
    "Logging in sends me back to the login page",
    "I am locked out of my account, login does not work",
    "The app asks me to log in again and again",
    "Login is broken on my phone",
    "I can no longer sign in to the website",
    "Cannot log in with my e-mail address",
    "Every login attempt fails",
    "Signing in does not work after the last release",
]
