__all__ = ['ttypes', 'constants', 'HelloWorld']
