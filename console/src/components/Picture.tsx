interface Props {
  url: string;
  alt: string;
}

/** A picture that the gateway keeps. Its address is its secret, so that an <img>, which cannot send a key, may show it. */
export function Picture({ url, alt }: Props) {
  // "/v1/…" means below the page's own address, which may itself be below a path.
  const source = url.startsWith("/") ? new URL(url.slice(1), document.baseURI).href : url;
  return <img src={source} alt={alt} decoding="async" />;
}
