"""Words of feedback for naming: segments without addresses and placeholders, stop words, comparable forms."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

LONGEST_TEXT = 2_000
LONGEST_WORD = 30

_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff\u0e31-\u0eff\u200c\u200d"
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_MARKS}]|['-](?=[^\W_]))*")
_REMOVED = re.compile(
    r"\[[\w -]{1,32}\]|<[\w -]{1,32}>|[a-z][a-z0-9+.-]{1,9}://\S+|www\.\S+|\S{0,64}@\S{1,255}", re.IGNORECASE
)
_BREAK = re.compile(r"[^\w\s'\-" + _MARKS + r"]|\s-+\s|_")
_LETTERS = re.compile(r"[^\W\d_]")
_SUFFIX = re.compile(r"(?:ings?|ed|ers?|es|s|ly|e)$")

_NEGATIONS = """
not no never cannot can't cant won't wont doesn't doesnt didn't didnt isn't isnt wasn't without
kein keine nicht pas jamais nunca não non niet geen
"""
_RUDE = "fuck fucking fucked fuckin shit shitty bullshit damn crap arse ass asshole bastard bitch wtf"
_ENGLISH = """
a about above after again against ago all almost alone along already also although always am among an and another any
anybody anyone anything anyway anywhere are aren't around as at away back be became because become been before behind
being below besides between both but by came can come comes coming could couldn't did do does doing done don't dont
down due during each either else enough etc even ever every everybody everyone everything everywhere except few first
for from further gave get gets getting give given gives giving go goes going gone got had hadn't has hasn't have haven't
having he he'd he's hence her here here's hers herself him himself his how how's however i i'd i'll i'm i've id if il im
in instead into is it it's its itself ive just keep keeps kept kind last least less let let's lets like likely ll made
make makes making many may maybe me mean means might mine more most mostly much must my myself near nearly neither
next nobody none nor nothing now nowhere of off often ok okay on once one ones only onto or other others otherwise
ought our ours ourselves out over own per perhaps please pls put puts quite rather re really right same say saying says
see seem seemed seems seen several shall she she'd she's should shouldn't since so some somebody somehow someone
something sometimes somewhere soon still such sure take takes taken taking tell tells than that that'd that's thats the
their theirs them themselves then there there's therefore these they they'd they'll they're they've thing things think this
those though through thru thus til till to today together told too took toward towards tried try trying twenty under unless
until up upon long longer us use used uses using usually ve very via want wanted wants was way ways we we'd we'll we're we've well
went were weren't what what's whatever when where whereas wherever whether which while who who's whoever whole whom
whose why will with within would wouldn't yet you you'd you'll you're you've your yours yourself yourselves
"""
_FILLER = """
absolutely actually afternoon amount anymore ask asked asking bad basically believe best better big bit bunch can't cant
case certain clearly completely couple day days definitely different easily especially eventually evening exactly
example experience extra fact fairly far feel feels find fine friday full good great guess guys
half happen happened happening happens happy hard hear heard hello help hey hi hope hour hours idea immediately
know knows known lately later leave left literally little look looked looking looks lot lots love
loved main major minute minutes monday month months moment morning need needed needing needs new nice night number
obviously old part past people person place point possible possibly pretty probably problem problems properly question
quick quickly real reason recently regards saturday second seconds seriously simple simply single small sort start
started starting stop stopped stuff sudden suddenly sunday super supposed talk team thank thanks thought three thursday
time times tomorrow tonight total totally true tuesday turn turned two understand usual various wait wednesday week
weeks weird whatsoever wish wonder wondering work worked works wrong year years yes yesterday lol omg pm am
"""
_OTHER_LANGUAGES = """
aber als am an auch auf aus bei beim bin bis bist da damit dann das dass dein dem den denn der des die dies diese diesem
diesen dieser dieses doch dort du durch ein eine einem einen einer eines er es etwas euch euer für gar gegen gibt haben habe
hat hatte hier ich ihr ihre ihren im immer in ist ja jede jeden jetzt kann können könnte man mehr mein meine meinem meinen mich
mir mit muss nach noch nun nur ob oder ohne schon sehr sein seine seit sich sie sind so um und uns unser unsere vom von vor
war warum was weil wenn werden wer wie wieder wir wird zu zum zur über bitte danke
au aux avec avoir bien c'est ce cela ces cet cette chez comme dans de depuis des dont du elle elles en encore est et eu
fait faut il ils j'ai je la le les leur lui l'on ma mais me mes mon même ne nos notre nous on ont ou où par pas pendant peu
plus pour pourquoi qu'il quand que quel qui sa sans se ses si son sont suis sur ta te tes toi ton tout tous toute très tu un
une va vos votre vous été être merci bonjour y à
al algo ante antes aquí así aunque cada como con contra cual cuando del desde donde dos el ella ellos entre era es esa ese eso
esta este esto están está estoy fue ha hace hacer han hasta hay la las le les lo los me mi mis muy más nada ni nos nosotros
o os otra otro para pero poco por porque pues que quien se sea ser si sin sobre solo son su sus sí también tan te tengo tiene
todo todos tu un una uno unos usted ya yo gracias hola y
agora ao aos as até com da das de dela dele depois do dos ele eles em entre era essa esse esta estou está eu foi isso isto já
lhe mais mas me meu meus mesmo minha muito na nas no nos nós num numa o os ou para pela pelo por quando que quem se sem ser
seu sua são só também tem tenho ter um uma você vocês é obrigado obrigada
alla alle anche ancora che chi ci con cosa così da dal dalla dei del della delle dello di dopo dove e ed era essere fa fino
gli ha hai hanno ho il in io l'ho la le lei lo loro lui ma mi mia mio molto ne nel nella noi nostro o ogni per perché più
poi quando quanto quella quello questa questo qui se sei senza si sia solo sono su sua sul sulla suo te ti tra tu tutti tutto
un una uno vi voi è grazie
aan al alles als altijd ben bij daar dan dat de deze die dit doen door dus een en er ga gaan geef goed had heb hebben heeft
het hier hij hoe hun ik in is ja je kan kunnen maar me meer men met mij mijn moet na naar nog nu of om omdat onder ons ook op over
te toch toen tot u uit van veel voor waar waarom wat we wel werd wij wil worden wordt zal ze zich zijn zo zonder zou bedankt
"""
NEGATIONS = frozenset(_NEGATIONS.split())
"""Words that may open a name although they carry no topic: "not working", "can't log in"."""
RUDE = frozenset(_RUDE.split())
"""Words that no name holds: they say how people feel and not what about."""
STOP = frozenset(_ENGLISH.split()) | frozenset(_OTHER_LANGUAGES.split()) | NEGATIONS | RUDE
"""Words that neither open nor close a name (negations may open one)."""
FILLER = frozenset(_FILLER.split())
"""Words that fit every theme: they may stand at the edge of a name beside a word of content, at a price."""


def segments(text: str) -> Iterator[list[str]]:
    """The words of a text as written, in runs that no punctuation, address or [placeholder] interrupts."""
    clean = unicodedata.normalize("NFC", text[:LONGEST_TEXT]).replace("\u2019", "'").replace("\x00", " ")
    for run in _BREAK.split(_REMOVED.sub(" | ", clean)):
        words = _WORD.findall(run)
        if words:
            yield words


def is_content(folded: str) -> bool:
    """Whether a case-folded word says something about a topic."""
    return folded not in FILLER and is_edge(folded)


def is_edge(folded: str) -> bool:
    """Whether a case-folded word may begin or end a name: it is no stop word, number or run of symbols."""
    return (
        folded not in STOP
        and len(folded) <= LONGEST_WORD
        and len(_LETTERS.findall(folded)) >= (1 if ord(folded[0]) > 0x2E80 else 2)
    )


def stem(folded: str) -> str:
    """A word without its commonest English endings, to see that "charge", "charged" and "charges" are one."""
    return (
        _SUFFIX.sub("", folded)
        if len(folded) >= 5
        else folded.removesuffix("s")
        if len(folded) == 4
        else folded
    )


def comparable(title: str) -> tuple[str, ...]:
    """What two names must differ in: the stems of their words that are not stop words, in any order."""
    words = [word.casefold() for run in segments(title) for word in run]
    return tuple(sorted(stem(w) for w in words if w not in STOP) or words)
