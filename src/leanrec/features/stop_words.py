"""Words that hold sentences together and say nothing about a topic, in eight languages."""

__all__ = ["FUNCTION_WORDS"]

# Left out on purpose: words of one language that mean something in another, such as the German war, hat and die,
# the French son, sous and c, the Italian come and ai, the Dutch door and van. What is common in one table is left out
# by its share of the texts anyway.
_WORDS = {
    "English": """a about after all also am an and any are as at be because been before being both but by can could
        did do does doing don each for from had has have having he her hers him his how i if in into is isn it its
        itself just ll me more most my myself no nor not of off on once only or other our ours out over own s same she
        should so some such t than that the their theirs them then there these they this those through to too under
        until up ve very was we were what when where which while who whom why will with would you your yours""",
    "German": """aber als am auch auf aus bei beim bis da damit das dass dein dem der des dich dir doch du durch
        ein eine einem einen einer eines er es für gegen hatte ich ihm ihn ihr ihre im ist jede jeder kein keine
        mein meine mich mir nach nicht noch nur oder ohne sehr seine sich sie sind um und uns unser unter vom von vor
        weil wenn wie wir wird zu zum zur zwischen über""",
    "French": """au aux avec ce ces cette dans de des du elle elles en est et être il ils je l la le les leur
        leurs lui ma mais mes moi mon ne nos notre nous ou où pas qu que quel quelle qui sa sans se ses si
        sont sur ta te tes toi tu un une vos votre vous y à été""",
    "Spanish": """al algo ante aunque con contra cuando de del desde donde e el ella ellas ellos en entre es esa
        ese eso esta este esto está fue ha hasta la las le les lo los me mi mis muy más ni nos o otra otro para
        pero por porque que quien qué se ser si sino sobre su sus sí también te tu tus un una uno y ya yo él""",
    "Italian": """agli al alla alle allo anche che chi ci con cui da dal dalla dei del della delle dello di e ed
        gli ha i il io l la le lei lo loro lui ma mi mia mio nei nel nella noi non o per perché più quella quello
        questa questo se si sono sua sul sulla suo ti tra tu un una uno vi è""",
    "Portuguese": """ao aos as às até com como da das de dela dele do e ela elas ele eles em entre essa esse
        esta este eu foi há isso isto já lhe mais mas me meu minha muito na nas nem no nos não nós o os ou para pela
        pelo por porque qual quando que se sem ser seu sua são também te tem um uma você à é""",
    "Dutch": """aan als bij dan dat de der deze dit een en er ge geen haar had heb hebben heeft het hier hij hoe
        hun ik in is je kan maar me met mij mijn na naar niet nog nu of om onder ons ook op over te tot uit voor
        waar was wat werd wie wij ze zich zij zijn zo zonder""",
    "Russian": """а без был была были было быть в во вот все всё вы где да для до его ее её если есть еще ещё же за и
        из или им их к как когда который ли меня мне мы на над не него нет ни но ну о об он она они оно от по под при
        с со так такой там то тоже только ты у уже что чтобы это этот я""",
}

FUNCTION_WORDS = frozenset(word for words in _WORDS.values() for word in words.split())
