"""Which column of a file is which field of a submission."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voice.errors import Invalid

METADATA, IGNORE = "metadata", "ignore"

# Headings by field, compared without case, blanks and punctuation; of two that fit one field the earlier wins.
_HEADINGS = {
    "text": (
        "text verbatim feedback comment comments review feedbacktext reviewtext reviewbody commenttext message body "
        "content verbatimtext customerfeedback customercomment feedbackcomment freetext opinion remark remarks "
        "description answer"
    ),
    "title": "title subject summary headline reviewtitle subjectline",
    "rating": (
        "rating score stars starrating reviewrating overallrating ratingvalue nps npsscore npsrating csat csatscore "
        "csatrating ces cesscore thumbs grade"
    ),
    "rating_scale": "ratingscale scale ratingtype scoretype",
    "created_at": (
        "createdat created createdon creationdate createddate createtime submittedat submitted submittedon "
        "submissiondate submissiontime submitdate timestamp datetime date time reviewdate reviewsubmitdateandtime "
        "postedat postedon posted dateposted publishedat published publishdate receivedat received responsedate "
        "recordeddate answeredat completedat when"
    ),
    "external_id": (
        "externalid id feedbackid ticketid reviewid caseid issueid commentid messageid recordid itemid rowid uuid "
        "guid ticketnumber casenumber ticketno issuekey ticket"
    ),
    "response_id": "responseid surveyresponseid submissionid",
    "thread_id": "threadid conversationid thread conversation chatid",
    "author.id": "authorid userid customerid reviewerid respondentid requesterid contactid memberid clientid user uid",
    "author.name": (
        "authorname username customername fullname reviewername requestername contactname displayname name author "
        "customer reviewer requester respondent"
    ),
    "author.email": (
        "authoremail email emailaddress mail mailaddress useremail customeremail requesteremail contactemail "
        "revieweremail respondentemail"
    ),
    "author.account": (
        "authoraccount account accountname accountid company companyname organization organisation organizationname "
        "organisationname org"
    ),
    "author.segment": "authorsegment segment customersegment plan planname tier subscription customertype",
    "version": "version appversion appversionname productversion release softwareversion clientversion",
    "url": "url link permalink reviewlink reviewurl weburl href pageurl page",
    "language": "language lang locale reviewerlanguage reviewlanguage languagecode",
    "tags": "tags tag labels label keywords",
    "source": "source feedbacksource",
    "channel": "channel feedbackchannel",
}
SYNONYMS: dict[str, tuple[str, ...]] = {field: tuple(words.split()) for field, words in _HEADINGS.items()}

_SCALE = re.compile("(nps|csat|ces|stars?|thumbs)(score|rating)?")


@dataclass(frozen=True, slots=True)
class Columns:
    """What becomes of each column: a field's dotted path, `metadata` or `ignore`."""

    targets: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def target(self, column: str) -> str:
        """The field of a column. One first met after the sample is the field it is called, when that one is free."""
        if found := self.targets.get(column):
            return found
        return column if column in SYNONYMS and column not in self.targets.values() else METADATA

    def column(self, field: str) -> str | None:
        """The column of a field."""
        return next((column for column, target in self.targets.items() if target == field), None)


def normalised(heading: str) -> str:
    """A heading without case, blanks and punctuation."""
    return "".join(char for char in unicodedata.normalize("NFKC", heading).casefold() if char.isalnum())


def assign_columns(columns: Sequence[str], given: Sequence[tuple[str, str]] = ()) -> Columns:
    """Give every column its target: as said by `given` (pairs of target and column), else guessed by its heading.

    What fits no field becomes metadata, and so does the second column that fits a field, which is noted. Raises
    Invalid when `given` names an unknown field or column, or one twice.
    """
    targets: dict[str, str] = {}
    for target, name in given:
        column = _find(columns, name)
        _check_given(targets, target, column)
        targets[column] = target
    notes = []
    by_heading: dict[str, list[str]] = {}
    for column in columns:
        if column not in targets:
            by_heading.setdefault(normalised(column), []).append(column)
    for field, words in SYNONYMS.items():
        fitting = [column for word in words for column in by_heading.get(word, ())]
        if field in targets.values() or not fitting:
            continue
        targets[fitting[0]] = field
        notes += [f"“{other}” also looks like {field}, but “{fitting[0]}” was taken" for other in fitting[1:]]
    return Columns({column: targets.get(column, METADATA) for column in columns}, tuple(notes))


def _check_given(targets: Mapping[str, str], target: str, column: str) -> None:
    if target not in SYNONYMS and target not in (METADATA, IGNORE):
        raise Invalid.field(
            "--map", f"{target!r} is no field; fields: {', '.join([*SYNONYMS, METADATA, IGNORE])}"
        )
    if column in targets:
        raise Invalid.field("--map", f"the column {column!r} is given twice")
    if target in SYNONYMS and target in targets.values():
        raise Invalid.field("--map", f"{target} is given twice")


def _find(columns: Sequence[str], name: str) -> str:
    if name in columns:
        return name
    alike = [column for column in columns if normalised(column) == normalised(name)]
    if len(alike) != 1:
        raise Invalid.field("--map", f"no column {name!r}; {listed(columns)}")
    return alike[0]


def listed(columns: Sequence[str], *, most: int = 25, longest: int = 40) -> str:
    """Columns for a message: cut, since the first line of a file without a header may hold anything."""
    shown = [repr(column if len(column) <= longest else f"{column[:longest]}…") for column in columns[:most]]
    return f"columns: {', '.join(shown)}{' …' if len(columns) > most else ''}"


def implied_scale(heading: str) -> str | None:
    """The rating scale that a heading names, such as nps for "NPS score"."""
    match = _SCALE.fullmatch(normalised(heading))
    if match is None:
        return None
    return "stars" if match[1] == "star" else match[1]
