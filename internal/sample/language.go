package sample

import "strings"

// Script is a writing system.
type Script int

// The scripts of the messages. CJK is Chinese and Japanese.
const (
	Latin Script = iota
	Devanagari
	Arabic
	Cyrillic
	CJK
	Thai
)

// language is how texts of one language are made.
type language struct {
	script   Script
	share    float64 // of all messages, together 1
	size     int     // of the vocabulary
	head     string  // real words, the most frequent first
	syllable [3][]string
	shortest int // syllables of a made word
	words    int // median of a text
	space    string
	comma    string
	stops    []string
	// countries are the prefixes of its speakers' numbers; with nine more digits
	// they are whole.
	countries []string
}

// languages are all languages of the messages.
func languages() []language {
	western := []string{".", "?", "!", "..."}
	eastern := []string{"。", "？", "！", "～"}
	vowels := strings.Fields("a e i o u ea ai ou ee oo y ie")
	return []language{
		{
			script: Latin, share: 0.567, size: 60_000, head: english, shortest: 2, words: 8,
			syllable: [3][]string{
				strings.Fields("t s r n l d c m p b h f g w st v pr tr th ch k sh br cl gr pl j fr qu bl sp dr sw z"),
				vowels,
				append([]string{"", "", "", ""}, strings.Fields("n r s t l d m nd st ng rt ck ll ss nt ft p x")...),
			},
			space: " ", comma: ", ", stops: western, countries: []string{"919", "1415", "447", "614", "2348"},
		},
		{
			script: Latin, share: 0.041, size: 20_000, head: spanish, shortest: 2, words: 9,
			syllable: [3][]string{
				strings.Fields("c s t r l m d p n b f g v ll ch qu tr pr ñ j h z br cr"),
				strings.Fields("a e o i u ía ó á é ie ue ió"),
				append([]string{"", "", "", ""}, strings.Fields("s n r l d z")...),
			},
			space: " ", comma: ", ", stops: western, countries: []string{"346", "521", "573"},
		},
		{
			script: Latin, share: 0.031, size: 20_000, head: portuguese, shortest: 2, words: 9,
			syllable: [3][]string{
				strings.Fields("c s t r l m d p n b f g v lh nh ch qu tr pr j z br cr ç"),
				strings.Fields("a e o i u ão é á ê õe ei ou ç ã"),
				append([]string{"", "", "", ""}, strings.Fields("s m r l z")...),
			},
			space: " ", comma: ", ", stops: western, countries: []string{"551", "3519"},
		},
		{
			script: Latin, share: 0.031, size: 20_000, head: german, shortest: 2, words: 9,
			syllable: [3][]string{
				strings.Fields("g b st s h w v r t l d m n f k sch z p tr pf kr schl fr br gl"),
				strings.Fields("e a i u o ei ie ä ü au ö eu"),
				append([]string{"", "", ""}, strings.Fields("n r t en er st ng ch l s ß nd rt cht")...),
			},
			space: " ", comma: ", ", stops: western, countries: []string{"491", "436"},
		},
		{
			script: Devanagari, share: 0.124, size: 40_000, head: hindi, shortest: 2, words: 7,
			syllable: [3][]string{
				strings.Fields("क र स न म त प ल ह द ब ज व ग च य ख ट ध श भ थ फ ड छ झ ण घ ठ ष ज़ फ़ प्र त्र क्ष स्त"),
				append([]string{"", "", "", ""}, strings.Fields("ा ि ी े ो ु ू ै ौ ं")...),
				append([]string{"", "", "", ""}, strings.Fields("न र त ल स म क ं")...),
			},
			space: " ", comma: ", ", stops: []string{"।", "?", "!", "।"}, countries: []string{"917", "918", "9198"},
		},
		{
			script: Arabic, share: 0.062, size: 30_000, head: arabic, shortest: 2, words: 8,
			syllable: [3][]string{
				split("لمنتبركدعسحقفجهطشصخضزذثغظ"),
				append([]string{"", "", ""}, split("ايوة")...),
				append([]string{"", "", ""}, split("لرنمتبدس")...),
			},
			space: " ", comma: "، ", stops: []string{".", "؟", "!", "."}, countries: []string{"201", "9665", "9715"},
		},
		{
			script: Cyrillic, share: 0.062, size: 30_000, head: russian, shortest: 2, words: 8,
			syllable: [3][]string{
				strings.Fields("н т с в р л к п д м г б з ст пр ч ж х ш тр ц щ ф кр св гр"),
				strings.Fields("о а е и у я ы ё ю э"),
				append([]string{"", "", "", ""}, strings.Fields("н т л р й м ть в сь к ст")...),
			},
			space: " ", comma: ", ", stops: western, countries: []string{"79", "77"},
		},
		{
			script: CJK, share: 0.041, size: 30_000, head: chinese, shortest: 2, words: 10,
			syllable: [3][]string{append(split(hanzi), characters(0x4e01, 0x9f9f, 9)...)},
			space:    "", comma: "，", stops: eastern, countries: []string{"861", "8869", "8526"},
		},
		{
			script: CJK, share: 0.021, size: 20_000, head: japanese, shortest: 2, words: 10,
			syllable: [3][]string{append(append(split(kana), split(hanzi)...), characters(0x30a2, 0x30f3, 1)...)},
			space:    "", comma: "、", stops: eastern, countries: []string{"819", "818"},
		},
		{
			script: Thai, share: 0.020, size: 15_000, head: thai, shortest: 2, words: 9,
			syllable: [3][]string{
				split("กนรมสคบทลดวตชปพหจยขอถผซฟงศ"),
				strings.Fields("า ี ิ ่า ้า ู ุ ั ะ ื ำ ่อ ้อ"),
				append([]string{"", "", ""}, split("นงมกดบยวร")...),
			},
			space: "", comma: " ", stops: []string{" ", " ครับ", " ค่ะ", "!"}, countries: []string{"668", "669"},
		},
	}
}

// The words at the head of each vocabulary, roughly in order of frequency.
const (
	english = `the to you i and a is it in of for my on me have this your can be that are we with not order
at please will do so but if when from what just or was no hi ok know thank by yes there get out all need
now thanks how delivery today one time call up they as number am has like about good send still here would
money he sir back day want any payment our help an money received tomorrow hello more some she don't phone
been go account message right after let only address did see who us work then which new make email could
got pay her code them their also price where come before item available check morning too take him than
ready week home why bank card sent again link problem date since refund give next because sure working bill
should name sorry last think going other way over open same people line parcel later already first much
tell getting size great does wait try change minutes customer service later invoice much stock cancel late
evening return shop store night details amount office yet free soon question using really many confirm
delivered night hour were really long update buy keep without place team off never under between support
kindly contact wrong old person two days three another least better always waiting find show until address
product house mobile app file photo picture car school pick doctor appointment list family friend friends
shipping box color black white red blue small large live offer discount left ask talk everything something
nothing anyone happy birthday love dear team meeting report form request access password login website
while enough hours plan available ticket flight hotel room book booking train station airport tonight
weekend monday friday sunday month year half early quick question answer issue track tracking courier
driver reached outside gate floor building street near road city area leave bring keys door`

	spanish = `de que no a la el es y en lo un por qué me una te los se con para mi está si bien pero yo eso las
sí su tu aquí del al como le más esto ya todo hola cuando gracias pedido hoy mañana favor dónde quiero puedo
precio envío tienes muy hay buenos días tardes noches señor señora cuenta pago número teléfono también dirección
cuánto llegó todavía después aún mensaje ahora entrega dinero tarjeta niño año español información recibí`

	portuguese = `que de não o a e é um para eu com do se uma você no em os da por está na mais isso bem mas me
como já foi ele sim meu muito aqui só obrigado hoje amanhã pedido quando onde quero preço entrega bom dia boa
tarde noite olá então também número telefone pagamento conta endereço até ainda você vocês são informação
chegou produto cartão dinheiro três mês ano depois agora mensagem favor pode posso tem fazer`

	german = `ich und die der das ist nicht es sie zu ein du in wir mit auf den was so wie für an haben bitte habe
kann mir noch hallo danke heute morgen bestellung wann wo von dem eine im auch bei oder aber nur wenn schon
können möchte lieferung preis rechnung uhr über straße gut guten tag abend nummer adresse konto zahlung grüße
bis nach wurde paket angekommen leider schön größe zurück später würde müssen früh bezahlt nächste woche`

	hindi = `है के में की का को से और नहीं मैं हो भी कि क्या एक यह कर आप पर हैं मेरा तो जी मुझे हाँ अभी ही कब वह
नमस्ते धन्यवाद ऑर्डर आज कल कृपया पैसा पैसे भुगतान नंबर फोन मेरी आपका आपकी कितना कहाँ कैसे क्यों घर समय दिन रुपये सर
ठीक बात पता काम साथ लिए गया रहा रही था थी सकते बहुत अच्छा भेज दो मिला नया बताओ चाहिए डिलीवरी पार्सल खाता बैंक
दुकान सामान दाम वापस जल्दी सुबह शाम रात लोग भाई बहन दोस्त परिवार संदेश जवाब सवाल मदद शुक्रिया वाला अगर लेकिन`

	arabic = `من في على أن لا ما هل إلى هذا أنا يا مع كل الطلب كم السلام عليكم شكرا لو سمحت اليوم غدا متى أين كيف
هو هي أريد عندي رقم الهاتف السعر التوصيل نعم ليس كان قد بعد قبل الآن لكن أو إذا عن حتى الله مرحبا صباح الخير مساء
الحساب البنك الدفع المبلغ العنوان وصل وصلت أرسل الرسالة ممكن تمام طيب جدا يوم ساعة وقت بيت شارع مدينة مشكلة`

	russian = `и в не на я что с это а по как да но у вы за к мы из так же все есть нет мне заказ он она для уже
спасибо пожалуйста здравствуйте когда где можно если только ещё сегодня завтра доставка цена номер телефон
добрый день вечер утро хорошо очень буду было был быть деньги оплата счёт адрес сколько почему получил
получила посылка время сейчас потом после тоже вас вам меня мой ваш привет скажите нужно хочу могу дом`

	chinese = `的 了 我 是 你 不 在 吗 有 好 请 我们 你好 谢谢 什么 这个 可以 今天 明天 订单 多少 钱 到 就 也 都 要 说 没有 时候 怎么
快递 地址 电话 号码 收到 付款 退款 价格 问题 现在 知道 需要 客服 时间 一下 还是 因为 所以 如果 但是 已经 您好 麻烦 尺寸 颜色 发货
什么时候 哪里 为什么 晚上 早上 下午 朋友 家 公司 银行 账户 手机 商品 新 大 小 人 天 个 月 年 那 会 能 对 吧 呢 啊`

	japanese = `の は を に が です で と ます も した か な ください ありがとう こんにちは 注文 今日 明日 お願いします 商品 いつ
ですか ました から まで 届き 届く 電話 番号 住所 確認 支払い 価格 返品 すみません 時間 こと これ それ ない ある いる する
ので けど でも はい いいえ 私 大丈夫 問題 配送 連絡 メール 予約 午前 午後 夜 朝 会社 銀行 円 日 月 人 何 もう まだ よろしく`

	thai = `ครับ ค่ะ ที่ ไม่ มี ได้ เป็น การ จะ ของ ว่า ให้ ไป และ มา แล้ว ใน ขอบคุณ สวัสดี วันนี้ พรุ่งนี้ สั่งซื้อ ราคา เท่าไหร่
เมื่อไหร่ ส่ง ของ เบอร์ โทร ที่อยู่ เงิน โอน บัญชี ธนาคาร สินค้า ร้าน ช่วย หน่อย นะ ผม ฉัน คุณ เรา เขา อยู่ กับ ก็ แต่ ถ้า ยัง
ต้อง ทำ อะไร ไหน ดี มาก เวลา วัน เดือน ปี บ้าน งาน`

	// hanzi are frequent characters, kana those of hiragana.
	hanzi = `的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心
多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进
把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平
真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期`
	kana = `いうかしてなとのにくつたりるまこすんれきもさあはよけどおえみせちめわやそらねろへひふほゆむぬ`
)
