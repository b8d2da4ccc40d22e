text_enum! {
    /// A streaming platform, in the order of the API's enum.
    #[derive(Hash)]
    pub enum Platform {
        /// Any RTMP, RTMPS or SRT server.
        Custom = "custom",
        /// YouTube Live.
        Youtube = "youtube",
        /// Twitch.
        Twitch = "twitch",
        /// Facebook Live.
        Facebook = "facebook",
        /// X (Twitter) Producer.
        X = "x",
        /// Kick.
        Kick = "kick",
        /// Amazon Interactive Video Service.
        AmazonIvs = "amazon_ivs",
        /// LinkedIn Live.
        Linkedin = "linkedin",
        /// TikTok LIVE.
        Tiktok = "tiktok",
        /// Instagram Live Producer.
        Instagram = "instagram",
        /// Rumble.
        Rumble = "rumble",
        /// Trovo.
        Trovo = "trovo",
        /// Restream.
        Restream = "restream",
        /// Mux.
        Mux = "mux",
        /// Cloudflare Stream.
        Cloudflare = "cloudflare",
        /// Livepeer.
        Livepeer = "livepeer",
        /// Castr.
        Castr = "castr",
        /// Switchboard Live.
        Switchboard = "switchboard",
        /// Steam.
        Steam = "steam",
        /// DLive.
        Dlive = "dlive",
        /// Nimo TV.
        Nimo = "nimo",
        /// Picarto.
        Picarto = "picarto",
        /// Bilibili.
        Bilibili = "bilibili",
        /// CHZZK.
        Chzzk = "chzzk",
        /// SOOP.
        Soop = "soop",
        /// niconico.
        Niconico = "niconico",
        /// KakaoTV.
        Kakaotv = "kakaotv",
        /// Vimeo.
        Vimeo = "vimeo",
    }
}
